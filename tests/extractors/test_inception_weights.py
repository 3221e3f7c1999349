"""Where weights are found, what is refused, and which distances are called FID."""

import functools
import http.server
import re
import threading
import urllib.error

import numpy as np
import pytest
import safetensors.numpy
from image_files import put
from inception_recipe import arrays
from torch_files import CONTAINERS, legacy, state_dict, tensor

from sagan_jax.errors import UserError
from sagan_jax.extractors import inception_layers, inception_weights
from sagan_jax.extractors.inception_weights import Weights
from sagan_jax.files import torch_file

both = pytest.mark.parametrize("container", CONTAINERS.values(), ids=CONTAINERS)


@functools.cache
def public_file():
    """Returns a small replacement for the public file: its first layers."""
    return legacy(state_dict(arrays("64")))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sagan_jax" / "weights"


@pytest.fixture
def public(tmp_path, monkeypatch):
    """Makes the replacement count as the public file."""
    path = put(tmp_path / "stand_in.pth", public_file())
    sha256 = torch_file.read(path).sha256
    monkeypatch.setattr(inception_weights, "SHA256", sha256)
    monkeypatch.setattr(inception_weights, "SIZE", len(public_file()))
    return sha256


def sentence(function, *arguments, **options):
    with pytest.raises(UserError) as caught:
        function(*arguments, **options)
    return str(caught.value)


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@both
def test_a_torch_file_may_have_any_order_of_axes(tmp_path, container):
    path = put(tmp_path / "a.pth", container(state_dict(arrays("64"))))
    found = inception_weights.load(path)
    assert_same(found.arrays, arrays("64"))
    assert found.taps == ("64",)
    assert all(array.flags.c_contiguous for array in found.arrays.values())


def test_saved_weights_are_read_with_their_origin(tmp_path):
    given = Weights(arrays("64"), origin="f" * 64)
    inception_weights.save(given, tmp_path / "new" / "a.safetensors")
    found = inception_weights.load(tmp_path / "new" / "a.safetensors")
    assert_same(found.arrays, given.arrays)
    assert (found.origin, found.digest) == (given.origin, given.digest)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.safetensors"]


def test_the_digest_depends_on_values_and_names_but_not_on_the_format(tmp_path):
    digests = {
        inception_weights.load(
            put(tmp_path / f"{name}.pth", make(state_dict(arrays("64"), counters)))
        ).digest
        for name, make in CONTAINERS.items()
        for counters in (False, True)
    }
    assert digests == {Weights(arrays("64")).digest}
    other = arrays("64")
    other["Conv2d_1a_3x3.bn.bias"] = np.nextafter(other["Conv2d_1a_3x3.bn.bias"], 9)
    assert Weights(other).digest not in digests


def test_files_of_another_network_are_refused(tmp_path):
    path = put(tmp_path / "a.pth", legacy({"conv1.weight": tensor(np.zeros(3), "0")}))
    said = sentence(inception_weights.load, path)
    assert said.startswith(f"weights='{path}' is not the Inception network")
    assert "'conv1.weight'" in said
    assert "pt_inception-2015-12-05-6726825d.pth" in said


def test_a_missing_file_is_named(tmp_path):
    said = sentence(inception_weights.load, tmp_path / "gone.pth")
    assert said.startswith(f"weights='{tmp_path}/gone.pth' does not exist; ")
    assert "public weights" in said


@pytest.mark.parametrize("length", [0, 7, 400, -1])
def test_a_truncated_safetensors_file_is_refused(tmp_path, length):
    inception_weights.save(Weights(arrays("64")), tmp_path / "a.safetensors")
    content = (tmp_path / "a.safetensors").read_bytes()
    path = put(tmp_path / "b.safetensors", content[:length])
    said = sentence(inception_weights.load, path)
    assert said.startswith(f"weights='{path}' is not a readable safetensors file (")
    assert "convert it again" in said


def test_a_safetensors_file_with_changed_values_is_refused(tmp_path):
    path = tmp_path / "a.safetensors"
    inception_weights.save(Weights(arrays("64")), path)
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)
    said = sentence(inception_weights.load, path)
    assert said.startswith(f"weights='{path}' is damaged: its arrays have sha256 ")


def test_a_plain_safetensors_file_has_an_unknown_origin(tmp_path):
    path = put(tmp_path / "a.safetensors", safetensors.numpy.save(arrays("64")))
    found = inception_weights.load(path)
    assert (found.origin, found.is_public, found.taps) == ("", False, ("64",))


def test_a_location_that_is_not_writable_is_refused(tmp_path):
    put(tmp_path / "file", b"")
    said = sentence(
        inception_weights.save, Weights(arrays("64")), tmp_path / "file" / "a"
    )
    assert said.startswith(f"weights='{tmp_path}/file/a' is not writable (")


# The name of the distance.


def whole(origin):
    return Weights(dict.fromkeys(inception_layers.shapes(), np.zeros(1)), origin)


def test_only_the_whole_public_network_at_2048_gives_fid():
    public = whole(inception_weights.SHA256)
    assert inception_weights.metric_name("2048", public) == "FID"
    assert inception_weights.metric_name("768", public) == "FD-768"
    assert inception_weights.metric_name("2048", whole("")) == "FD-2048"
    assert inception_weights.metric_name("2048", whole("f" * 64)) == "FD-2048"


def test_a_part_of_the_network_never_gives_fid():
    part = Weights(arrays("192"), inception_weights.SHA256)
    assert not part.is_public
    assert inception_weights.metric_name("192", part) == "FD-192"
    assert inception_weights.metric_name("2048", part) == "FD-2048"


# The cache directory and the download.


@pytest.mark.parametrize("name", inception_weights.NAMES)
def test_a_copied_public_file_is_converted(cache, public, name):
    put(cache / name, public_file())
    found = inception_weights.load(opener=None)
    assert found.origin == public
    assert (cache / inception_weights.CONVERTED).exists()
    (cache / name).unlink()
    assert_same(inception_weights.load().arrays, arrays("64"))


def test_another_copied_file_is_refused(cache, public):
    put(cache / inception_weights.NAMES[0], public_file()[:-1])
    said = sentence(inception_weights.load)
    assert said.startswith(
        f"weights: '{cache}/{inception_weights.NAMES[0]}' has sha256 "
    )
    assert f"the public file has {public}; " in said
    assert "incomplete" in said
    assert [p.name for p in cache.iterdir()] == [inception_weights.NAMES[0]]


class Served(http.server.BaseHTTPRequestHandler):
    content = b""

    def do_GET(self):
        if self.content is None:
            self.wfile.write(b"not a word of HTTP\r\n\r\n")
            return
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def served(monkeypatch):
    """Returns a function that sets the bytes that a server at URL sends."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Served)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(
        inception_weights, "URL", f"http://127.0.0.1:{server.server_port}/a.pth"
    )
    yield functools.partial(monkeypatch.setattr, Served, "content")
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_public_file_is_downloaded_once_and_converted(cache, public, served):
    served(public_file())
    assert inception_weights.load().origin == public
    assert [p.name for p in cache.iterdir()] == [inception_weights.CONVERTED]
    served(b"")
    assert_same(inception_weights.load().arrays, arrays("64"))


def test_a_truncated_download_is_refused_and_removed(cache, public, served):
    served(public_file()[:1000])
    said = sentence(inception_weights.load)
    assert said.startswith(f"weights: '{inception_weights.URL}' has sha256 ")
    assert list(cache.iterdir()) == []


def test_a_server_without_http_gives_one_sentence(cache, public, served):
    served(None)
    said = sentence(inception_weights.load)
    assert said.startswith(f"no Inception weights in '{cache}'")
    assert "(BadStatusLine)" in said
    assert list(cache.iterdir()) == []


def test_a_failed_download_names_the_file_and_where_to_copy_it(cache):
    def opener(url, timeout):
        assert url == inception_weights.URL
        raise urllib.error.URLError("Name or service not known")

    said = sentence(inception_weights.load, opener=opener)
    assert said.startswith(
        f"no Inception weights in '{cache}', and the download failed"
    )
    for part in (
        "(Name or service not known)",
        "https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        "95628359 bytes",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        f"copy it to '{cache}'",
        "evaluation.weights=FILE",
        "--weights FILE",
    ):
        assert part in said
    assert list(cache.iterdir()) == []


def test_without_a_home_directory_the_weights_need_a_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "")
    said = sentence(inception_weights.load)
    for part in ("home directory", "evaluation.weights=FILE", "XDG_CACHE_HOME"):
        assert part in said
    path = tmp_path / "a.safetensors"
    inception_weights.save(Weights(arrays("64")), path)
    assert inception_weights.load(path).taps == ("64",)


def test_the_first_public_layers_are_read(shared):
    found = inception_weights.load(shared / "data" / "inception_partial.safetensors")
    assert found.taps == ("64", "192", "768", "1280")
    assert re.fullmatch("[0-9a-f]{64}", found.digest)
    assert inception_weights.metric_name("1280", found) == "FD-1280"
