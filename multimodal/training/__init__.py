"""The recipe of the embedded image tower: a maintainers' tool, not part of the product's API."""
