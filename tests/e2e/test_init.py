"""`tidemill init` and `tidemill new`: what they make works as it is."""


def test_a_project(home):
    root = home.folder / "shop"
    done = home.call("init", root)
    assert "made" in done.out and (root / ".github" / "workflows" / "dags.yaml").exists()
    assert home.call("validate", root / "dags").out == "2 files checked: 0 errors, 0 warnings\n"
    assert "2 tests passed, 0 failed" in home.call("test", root / "dags").out
    assert home.run(root / "dags" / "orders.yaml").state == "succeeded"
    assert (root / "dags" / "out" / "revenue.parquet").exists()
    # What is there already stays as it is.
    mine = root / "dags" / "orders.yaml"
    mine.write_text("tasks: {a: {noop: }}\n")
    again = home.call("init", root).out
    assert "made" not in again and "kept" in again and mine.read_text().startswith("tasks:")


def test_a_new_dag(home):
    home.call("init", home.folder / "shop")
    home.call("new", "dag", "refunds", cwd=home.folder / "shop")
    assert "1 test passed" in home.call("test", home.folder / "shop" / "dags" / "refunds.yaml").out
    assert home.run(home.folder / "shop" / "dags" / "refunds.yaml").state == "succeeded"
    again = home.call("new", "dag", "refunds", cwd=home.folder / "shop", code=1)
    assert "is there already" in again.err
    assert "Refunds" in home.call("new", "dag", "Refunds", code=1).err


def test_the_frame_of_a_connector(home, tmp_path):
    src = tmp_path / "src"
    src.mkdir()
    done = home.call("new", "connector", "my_system", "--src", src, code=1)
    assert "it has no `lib.rs`" in done.err
    (src / "lib.rs").write_text("")
    done = home.call("new", "connector", "my_system", "--src", src)
    assert "add `mod my_system;` and `Arc::new(my_system::MySystem)`" in done.out
    text = (src / "my_system.rs").read_text()
    assert "impl Connector for MySystem" in text and 'const NAME: &\'static str = "my_system";' in text
    assert "is there already" in home.call("new", "connector", "my_system", "--src", src, code=1).err
    assert "is no name of a connector" in home.call("new", "connector", "My-System", "--src", src, code=1).err


def test_what_is_made_passes_its_own_checks(home, tmp_path):
    """The CI file of a project asks for this; a stranger's first push should not fail."""
    project = tmp_path / "shop"
    home.call("init", project)
    home.call("new", "dag", "refunds", "--dags", project / "dags")
    assert "0 would change" in home.call("fmt", "--check", project / "dags").out
    assert "0 errors, 0 warnings" in home.call("validate", "--strict", project / "dags").out
    steps = (project / ".github" / "workflows" / "dags.yaml").read_text()
    for step in ("fmt --check dags", "validate --strict dags", "test dags"):
        assert f"run: tidemill {step}" in steps
