from plugins.ct_harmonizer.evaluate.each import command


def test_each_phantom_is_worked_on_in_order_and_all_stand_in_the_table(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["study", "--phantoms", "3", "--seed", "2", "--jobs", "2"])
    command("study", None, 1, range, told=lambda own: f"{len(own)} rows", table=lambda rows: f"| {rows} |")
    said = capsys.readouterr()
    assert said.err.splitlines() == ["2 rows", "3 rows", "4 rows"]
    assert said.out == "| [0, 1, 0, 1, 2, 0, 1, 2, 3] |\n"
