"""Only checkpoints with a mark count."""

from pathlib import Path

from backbone.training.whole_checkpoints import last_whole_checkpoint, mark_whole


def test_the_newest_whole_checkpoint_is_found_and_others_removed_if_asked(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) is None
    for step in (5, 10, 20):
        (tmp_path / f"checkpoint-{step}" / "part").mkdir(parents=True)
    for step in (5, 10):
        mark_whole(tmp_path / f"checkpoint-{step}")
    assert last_whole_checkpoint(tmp_path, remove_partial=False) == tmp_path / "checkpoint-10"
    assert (tmp_path / "checkpoint-20").exists()
    assert last_whole_checkpoint(tmp_path) == tmp_path / "checkpoint-10"
    assert not (tmp_path / "checkpoint-20").exists()
