"""Folders of files for parsers."""


def touch(path, text=""):
    """Writes a file, and its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def tree(root, files):
    """Writes empty files below a folder, and returns the folder."""
    for name in files:
        touch(root / name)
    return root


def rows(manifest):
    """Label, speaker, sex and text of each utterance by id."""
    return {u.id: (u.label, u.speaker, u.sex, u.text) for u in manifest}
