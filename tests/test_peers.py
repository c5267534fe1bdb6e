"""The real peers of the tests do what the tests rely on."""


def test_orthanc_holds_what_is_uploaded(orthanc, data):
    files = sorted((data / "chest" / "lung-dx-a0002-b70f").glob("*.dcm"))[:3]
    orthanc.upload(*files)
    (series,) = orthanc.rest("/series")
    uid = orthanc.rest(f"/series/{series}")["MainDicomTags"]["SeriesInstanceUID"]
    assert orthanc.count(uid) == 3
    assert orthanc.count("1.2.3") == 0
    assert orthanc.rest("/dicom-web/series", params={"SeriesInstanceUID": uid})


def test_orthanc_forwards_to_storescp(orthanc, storescp, data):
    file = min((data / "chest" / "lung-dx-a0002-b70f").glob("*.dcm"))
    orthanc.upload(file)
    orthanc.register("there", storescp.aet, storescp.port)
    (study,) = orthanc.rest("/studies")
    report = orthanc.forward("there", study)
    assert (report["InstancesCount"], report["FailedInstancesCount"]) == (1, 0)
    assert len(storescp.files) == 1
