"""What a bank holds is what the encoder gives, view by view, and the encoder is left as it was."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from bank_toys import Plain, Seeing, encode, small
from engine_toys import classifier, images, sentence
from PIL import Image
from torch import Tensor, nn

from labkit.data import Augment, FileSet
from labkit.engine import FeatureBank
from labkit.errors import MissingError

JITTER = Augment(scale=(0.5, 1.0), flip=True, jitter=(0.4, 0.4, 0.4, 0.1))


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LABKIT_CACHE", str(tmp_path / "cache"))


def test_equals_one_image_at_a_time():
    model, split = classifier(), images(23, 2)
    bank = encode(model, split, batch_size=4, chunk=8)
    model.eval()
    with torch.no_grad():
        slow = [model(split[i][0][None]) for i in range(23)]
    assert bank.names == ("logits", "embedding")
    torch.testing.assert_close(bank.features(), torch.cat([out.embedding for out in slow]))
    torch.testing.assert_close(bank.features("logits"), torch.cat([out.logits for out in slow]))
    assert bank.features().dtype == torch.float32
    assert torch.equal(bank.labels, split.labels)
    assert torch.equal(bank.ids, split.ids)
    assert len(bank) == 23
    assert "23 images" in repr(bank)


def test_outputs_by_name_and_what_is_kept_without():
    class Named(NamedTuple):
        cls: Tensor
        patches: Tensor

    class Tokens(nn.Module):
        def forward(self, x: Tensor) -> Named:
            return Named(x.mean((1, 3)), x[:, 0])

    assert encode(Plain()).names == ("features",)
    tokens = encode(Tokens())
    assert tokens.names == ("cls",), "only what is (B, D)"
    assert torch.equal(tokens.features(), encode(Tokens(), outputs=["patches", "cls"]).features())
    bank = encode(Seeing(), outputs=("pixels", "depth.1"))
    assert bank.features("depth.1").shape == (48, 1, 2, 6)
    assert torch.equal(bank.features("pixels"), small().images.float() / 255)
    assert "pixels, depth.1" in sentence(lambda: bank.features())
    assert "Did you mean 'pixels'" in sentence(lambda: bank.features("pixel"))
    assert "embedding" in sentence(lambda: encode(Seeing(), outputs=("embeding",)))


def test_features_are_yours_to_change():
    for keep in (True, False):
        bank = encode(Plain(), keep=keep)
        before = bank.features().clone()
        bank.features().zero_()
        assert torch.equal(bank.features(), before)
        assert torch.equal(bank.stored(bank.ids)["features"], before)
        assert torch.equal(encode(Plain(), keep=keep).features(), before)


def test_mode_device_and_gradients_are_put_back():
    encoder = Seeing().train()
    encoder.norm.eval()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    bank = encode(encoder)
    assert encoder.training
    assert encoder.dropout.training
    assert not encoder.norm.training
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in encoder.parameters())
    assert not bank.features().requires_grad
    assert torch.equal(bank.features(), encode(encoder.eval(), keep=False).features()), "no dropout"


@pytest.mark.parametrize("augment", [Augment(pad=1, flip=True), JITTER], ids=["shift", "jitter"])
def test_a_view_is_that_of_seed_view_and_id(augment: Augment):
    split = small()
    bank = encode(Seeing(), split, views=3, augment=augment, seed=9, outputs=("pixels",))
    for view in range(3):
        assert torch.equal(bank.features("pixels", view), augment(split.images, 9, view, split.ids))
    assert not torch.equal(bank.features(view=0), bank.features(view=1))
    part = encode(Seeing(), split.subset([40, 3]), views=3, augment=augment, seed=9, outputs=("pixels",))
    assert torch.equal(part.features(view=2), bank.features(view=2)[[40, 3]]), "whatever it is encoded with"
    assert "no view 3" in sentence(lambda: bank.features(view=3))


def test_a_loop_replays_the_views_byte_by_byte():
    bank = encode(Seeing(), views=3, augment=JITTER, seed=9, outputs=("pixels", "embedding"))
    orders = []
    for epoch in range(5):
        seen = list(bank.batches(16, epoch=epoch, seed=1))
        for batch in seen:
            assert set(batch.view.tolist()) == {epoch % 3}
            assert torch.equal(batch.image, batch.stored["pixels"])
        orders.append(torch.cat([batch.index for batch in seen]))
    assert not torch.equal(orders[0], orders[3]), "the same views in another order"
    whole = torch.cat([batch.index for batch in bank.batches(20, shuffle=False)])
    assert torch.equal(whole, bank.ids)


def test_stored_by_id_and_view():
    bank = encode(Plain(), views=3, augment=Augment(pad=2))
    index, view = bank.ids[[5, 47, 5, 0]], torch.tensor([2, 0, 1, 1])
    expected = torch.stack([bank.features(view=v)[p] for v, p in ((2, 5), (0, 47), (1, 5), (1, 0))])
    assert torch.equal(bank.stored(index, view)["features"], expected)
    assert torch.equal(bank.stored(index, 1)["features"], bank.features(view=1)[[5, 47, 5, 0]])
    assert bank.stored(index[:0], 0)["features"].shape == (0, 36)
    assert "epoch % views" in sentence(lambda: bank.stored(index, view + 1))
    assert "id 17)" in sentence(lambda: bank.stored(torch.tensor([4001, 17]), 0))


def test_ids_in_any_order():
    split = small().subset(torch.randperm(48, generator=torch.Generator().manual_seed(0)))
    bank = encode(Plain(), split)
    assert torch.equal(bank.stored(split.ids[7:9])["features"], bank.features()[7:9])
    assert torch.equal(bank.positions(split.ids), torch.arange(48))


def test_half_precision_halves_the_file_and_rounds_to_three_digits():
    full, half = (encode(Plain(), dtype=dtype) for dtype in ("float32", "float16"))
    sizes = [(bank.folder / "features.npy").stat().st_size - 128 for bank in (full, half)]
    assert sizes[0] == 2 * sizes[1] == 4 * 48 * 36
    assert half.features().dtype == torch.float32
    torch.testing.assert_close(half.features(), full.features(), rtol=5e-4, atol=1e-6)
    assert "float16" in sentence(lambda: encode(Plain(1e6), dtype="float16"))


def test_bfloat16_only_where_asked():
    class Probe(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.layer = nn.Linear(36, 5)

        def forward(self, x: Tensor) -> Tensor:
            return self.layer(x.flatten(1))

    exact, rounded = encode(Probe()), encode(Probe(), precision="bf16")
    assert exact.key != rounded.key
    assert not torch.equal(exact.features(), rounded.features())
    torch.testing.assert_close(exact.features(), rounded.features(), rtol=0.05, atol=0.02)
    double = encode(Probe().double(), keep=False)
    torch.testing.assert_close(double.features(), exact.features(), rtol=1e-4, atol=1e-6)
    assert "GPU" in sentence(lambda: encode(Probe(), precision="fp16"))


def test_files_on_disk(tmp_path: Path):
    generator = np.random.default_rng(0)
    paths = [tmp_path / f"{i}.png" for i in range(5)]
    for path in paths:
        Image.fromarray(generator.integers(0, 255, (9, 12, 3), dtype=np.uint8)).save(path)
    split = FileSet(paths, torch.tensor([0, 1, 2, 0, 1]), ("a", "b", "c"), image_size=6, workers=0)
    bank = encode(Plain(), split, batch_size=2, chunk=4)
    assert torch.equal(bank.features(), split.fetch(range(5)).float().flatten(1) / 255)
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    others = [path.rename(moved / path.name) for path in paths]
    again = FileSet(others, split.labels, split.classes, image_size=6, workers=0)
    assert encode(Plain(), again).key == bank.key, "the content counts, not the place"
    Image.new("RGB", (9, 12)).save(others[2])
    assert encode(Plain(), again).key != bank.key
    others[2].unlink()
    sentence(lambda: encode(Plain(), again), MissingError)


class Faulty(nn.Module):
    """Multiplies a part of its output by what makes it wrong."""

    def __init__(self, factor: float, first: int = 1) -> None:
        super().__init__()
        self.factor, self.first = factor, first

    def forward(self, x: Tensor) -> Tensor:
        out = x.flatten(1).clone()
        out[self.first] *= self.factor
        return out


@pytest.mark.parametrize(
    ("call", "part"),
    [
        (lambda: encode(Plain(), small().subset([])), "is empty"),
        (lambda: encode(lambda x: x), "must be an nn.Module, not function"),
        (lambda: encode(Plain(), views=0), "views must be a whole number"),
        (lambda: encode(Plain(), batch_size=2.5), "batch_size must be"),
        (lambda: encode(Plain(), views=2), "are all the same"),
        (lambda: encode(Plain(), dtype="int8"), "float16, float32"),
        (lambda: encode(Plain(), augment="crop"), "Unknown augmentation 'crop'"),
        (lambda: encode(Plain(), precision="half"), "Unknown precision"),
        (lambda: encode(Plain(), device="warp"), "Unknown device 'warp'"),
        (lambda: encode(Faulty(float("nan"), 3)), "not finite (first for the image with id 4003, view 0)"),
        (lambda: encode(Faulty(float("inf"))), "not finite"),
        (lambda: encode(nn.Flatten(0)), "its first axis must be the batch"),
        (lambda: encode(Returning(None)), "returned a NoneType"),
        (lambda: encode(Returning({"note": "text"})), "no tensor"),
        (lambda: encode(Returning({"a/b": torch.zeros(8, 2)})), "can't be: rename it"),
    ],
)
def test_bad_input_is_one_sentence(call, part: str):
    assert part in sentence(call)


class Returning(nn.Module):
    """Returns what it was given, whatever it sees."""

    def __init__(self, value: object) -> None:
        super().__init__()
        self.value = value

    def forward(self, x: Tensor) -> object:
        return self.value


def test_outputs_that_change_their_shape():
    class Growing(nn.Module):
        _width = 2

        def forward(self, x: Tensor) -> Tensor:
            self._width += 1
            return x.flatten(1)[:, : self._width]

    assert "from one batch to the next" in sentence(lambda: encode(Growing()))
    assert "from one batch to the next" in sentence(lambda: encode(Growing(), chunk=48, keep=False))


def test_the_default_device_and_another_one():
    bank = FeatureBank(Plain(), small(), keep=False)
    assert torch.equal(bank.features(), encode(Plain()).features())
    encoder = Plain()
    FeatureBank(encoder, small(), keep=False)
    assert encoder.weight.device.type == "cpu", "moved back"
