"""`harmonode pull` beside a node that runs: what it fetches is harmonized like what is stored."""

from __future__ import annotations

from node.journey import State


def test_a_running_node_takes_up_what_is_pulled_beside_it(orthanc, start_node, chest, data):
    orthanc.upload(*sorted((data / "chest" / "lung-dx-a0002-b40f").glob("*.dcm")))
    node = start_node(
        sources=[{"name": "pacs", "kind": "dicomweb", "url": orthanc.dicomweb_url}],
        complete={"quiet_s": 60, "quiet_when_counted_s": 0.5},  # the count of the archive tells, not the quiet time
    )
    node.only_rule(plugin="identity")
    done = node.cli("pull", "--from", "pacs", "--study", chest.study)
    assert done.stdout.strip() == f"Series {chest.series}: 30 of 30 instances came."
    (series,) = node.wait(lambda: [row for row in node.series() if row.state != State.RECEIVING], "it is complete", 30)
    assert (series.instance_count, series.expected_count) == (30, 30)
    (complete,) = node.events("complete")
    assert complete.message == "complete with 30 instances: as many as its sender's archive counts"
    (pulled,) = node.events("pull")
    assert pulled.actor.startswith("user:")

    wrong = node.cli("pull", "--from", "elsewhere", "--study", chest.study, check=False)
    assert wrong.returncode == 1
    assert "no source 'elsewhere' in the configuration; there are: pacs" in wrong.stderr
    orthanc.stop()
    down = node.cli("pull", "--from", "pacs", "--study", chest.study, check=False)
    assert down.returncode == 1
    assert down.stderr.startswith("error (transient): source 'pacs': ")
    assert "run the same command again" in down.stderr
