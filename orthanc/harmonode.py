"""A button "Harmonize" in Orthanc Explorer, and POST /series/{id}/harmonize behind it: sends a series to the node by hand.

An Orthanc with the Python plugin runs this beside harmonode.lua, which forwards by itself; either works alone. The
plugin has its own Python: the standard library is all that is used here.
"""

from __future__ import annotations

import json
from typing import Any

import orthanc

NODE = "harmonode"  # the name among DicomModalities


def refusal(series: str) -> str | None:
    """Why a series must not go to the node; None where it may."""
    instance = json.loads(orthanc.RestApiGet("/series/" + series))["Instances"][0]
    header = json.loads(orthanc.RestApiGet("/instances/" + instance + "/simplified-tags"))
    if header.get("Modality") != "CT":
        return f"its Modality (0008,0060) is {header.get('Modality')}, and the node takes CT"
    for value in (header.get("ImageType") or "").upper().split("\\"):
        if value in ("DERIVED", "LOCALIZER"):
            return f"its Image Type (0008,0008) says {value}"
    for equipment in header.get("ContributingEquipmentSequence") or []:
        if (equipment.get("ManufacturerModelName") or "").startswith("harmonode "):
            return "harmonode has made it, says its Contributing Equipment (0018,A001)"
    return None


def refuse(output: Any, status: int, why: str) -> None:
    body = json.dumps({"Details": why})  # ASCII, so characters are bytes
    output.SendHttpStatus(status, body, len(body))


def harmonize(output: Any, _uri: str, **request: Any) -> None:
    """POST /series/{id}/harmonize: the job that sends the series; its progress is at /jobs/{ID}."""
    if request["method"] != "POST":
        output.SendMethodNotAllowed("POST")
        return
    (series,) = request["groups"]
    try:
        orthanc.RestApiGet("/series/" + series)
    except orthanc.OrthancException:
        refuse(output, 404, "there is no such series")
        return
    reason = refusal(series)
    if reason is not None:
        refuse(output, 409, f"The series is not sent: {reason}")
        return
    job = {"Resources": [series], "Asynchronous": True}
    try:
        answer = orthanc.RestApiPost("/modalities/" + NODE + "/store", json.dumps(job).encode())
    except orthanc.OrthancException:
        refuse(output, 503, f"There is no {NODE} among DicomModalities")
        return
    orthanc.LogWarning(f"Series {series} is sent to {NODE} by hand")
    output.AnswerBuffer(answer, "application/json")


BUTTON = """
$('#series').live('pagebeforecreate', function() {
  var button = $('<a>').attr('data-role', 'button').attr('href', '#').attr('data-icon', 'gear').attr('data-theme', 'e')
    .attr('id', 'harmonize').text('Harmonize');
  button.insertBefore($('#series-delete').parent().parent());
  button.click(function() {
    if (!$.mobile.pageData) {
      return false;
    }
    $.ajax({
      url: '../series/' + $.mobile.pageData.uuid + '/harmonize',
      type: 'POST', data: '', dataType: 'json',
      success: function() {
        window.alert('The series is on its way to harmonode; what its rules select comes back into this study.');
      },
      error: function(answer) {
        var why = 'Orthanc answers with status ' + answer.status;
        try { why = JSON.parse(answer.responseText).Details || why; } catch (error) { }
        window.alert(why);
      }
    });
    return false;
  });
});
"""

orthanc.RegisterRestCallback("/series/([-0-9a-f]+)/harmonize", harmonize)
orthanc.ExtendOrthancExplorer(BUTTON)
