"""Model files: where they come from, how they are checked, and where they lie.

`refs` reads a reference and finds its folder, `store` fills folders, `catalog` lists the embedded models.
"""
