import numpy as np

from multimodal.encoders.image import ColourEncoder
from tests.unit.encoders.pictures import image, plain


def test_without_a_model_a_picture_has_size_and_colours_but_no_vector() -> None:
    (features,) = ColourEncoder().encode([image(plain(20, 30, (0, 0, 200)), size=(3000, 2000))])
    assert (features.width, features.height) == (3000, 2000)
    assert [colour.name for colour in features.colours] == ["blue"]
    assert features.vector is None


def test_features_come_in_the_order_of_the_pictures_and_carry_their_hash() -> None:
    pictures = [image(plain(4, 4, (level, 0, 0))) for level in (255, 0)]
    features = ColourEncoder().encode(pictures)
    assert [one.sha256 for one in features] == [one.sha256 for one in pictures]
    assert [one.colours[0].name for one in features] == ["red", "black"]


def test_no_pictures_have_no_features() -> None:
    assert ColourEncoder().encode([]) == []


def test_pixels_that_must_not_be_written_are_read_all_the_same() -> None:
    pixels = plain(4, 4)
    pixels.setflags(write=False)  # as they come out of the object store
    assert ColourEncoder().encode([image(np.ascontiguousarray(pixels))])[0].colours[0].name == "white"
