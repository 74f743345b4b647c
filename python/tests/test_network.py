"""Networks, explanations and trainings as a user calls them."""

import copy
import os
import pickle
import threading
import time

import numpy as np
import pytest

import relrnn


def test_a_network_is_saved_loaded_and_copied(tmp_path, network, floats):
    network.save(tmp_path / "m.safetensors")
    logits = network.predict(floats)
    for other in [relrnn.Network.load(str(tmp_path / "m.safetensors")), pickle.loads(pickle.dumps(network)), copy.deepcopy(network)]:
        assert other.architecture == network.architecture
        assert (other.rows, other.cols, other.seq_len, other.classes, other.low, other.high) == (28, 28, 4, 10, -1.0, 1.0)
        assert other.predict(floats).tobytes() == logits.tobytes()
    assert network.variables == sum(tensor.size for tensor in network.tensors().values())
    assert "dense48-rnn40:24-head20" in repr(network)


def test_presets_have_the_sizes_of_the_thesis():
    assert len(relrnn.presets()) == 12
    assert relrnn.Network("deep", seq_len=7).variables == 271_946
    assert relrnn.Network("final-deep", cols=84, seq_len=12).variables == 153_578
    assert relrnn.architecture("deep")["head"] == [64]
    mine = relrnn.architecture("mine", encoder=[{"dense": 30}], core={"rnn": {"combine": 20, "recurrent": 10}}, head=[])
    assert mine == {"encoder": [{"dense": 30}], "core": {"rnn": {"combine": 20, "recurrent": 10}}, "head": []}


def test_images_may_have_a_channel_another_float_type_or_no_axis_of_samples(network, floats):
    logits = network.predict(floats)
    assert logits.shape == (40, 10) and logits.dtype == np.float32
    assert network.predict(floats[:, None]).tobytes() == logits.tobytes()
    assert network.predict(floats.astype(np.float64)).tobytes() == logits.tobytes()
    assert network.predict(np.asfortranarray(floats)).tobytes() == logits.tobytes()
    assert network.predict(floats[::-2]).tobytes() == logits[::-2].tobytes()
    assert network.predict(floats[3]).tobytes() == logits[3].tobytes()
    assert network.explain(floats[:, None]).relevance.shape == (40, 1, 28, 28)


def test_relevance_adds_up_to_the_explained_value(network, floats):
    found = network.explain(floats)
    assert found.relevance.shape == floats.shape and found.relevance.dtype == np.float32
    assert found.conserves and found.method == "deep-taylor" and found.value == "centred"
    logits = network.predict(floats)
    assert found.logits.tobytes() == logits.tobytes()
    assert (found.target == logits.argmax(1)).all() and found.target.dtype == np.int64
    assert np.allclose(found.f, logits.max(1) - logits.mean(1), atol=1e-5) and (found.f >= 0).all()
    assert np.allclose(found.f, found.relevance.sum((1, 2), dtype=np.float64) + found.absorbed, atol=1e-4)
    assert found.conservation.shape == (40,) and found.conservation.max() < 1e-4
    strips = found.relevance.reshape(40, 28, 4, 7).sum((1, 3), dtype=np.float64)
    assert found.by_step.shape == (40, 4) and np.allclose(found.by_step, strips, atol=1e-9)
    assert list(found.ledger) == ["encoder.0", "combine", "recurrent", "head.0", "head.1"]
    absorbed = sum(of.absorbed for of in found.ledger.values())
    assert absorbed.shape == (40, 4) and np.allclose(absorbed.sum(1), found.absorbed)


def test_targets_are_a_class_one_class_an_image_or_all(network, floats, data):
    each = network.explain(floats, target="all", value="logit")
    assert each.relevance.shape == (40, 10, 28, 28) and each.by_step.shape == (40, 10, 4)
    assert (each.target == np.arange(10)).all() and np.array_equal(each.f, each.logits)
    assert each.ledger["combine"].negative.shape == (40, 10, 4)
    one = network.explain(floats, target=np.int32(3), value="logit")
    assert one.relevance.tobytes() == each.relevance[:, 3].tobytes()
    labels = network.explain(floats, target=data.y_test, value="logit")
    assert (labels.target == data.y_test).all()
    assert labels.relevance.tobytes() == each.relevance[np.arange(40), data.y_test].tobytes()


def test_values_may_be_weights_of_the_logits(network, floats):
    weights = np.zeros((40, 10))
    weights[:, 4], weights[:, 9] = 1, -1
    found = network.explain(floats, value=weights)
    assert found.value == "rows" and np.allclose(found.f, found.logits[:, 4] - found.logits[:, 9], atol=1e-5)


def test_training_learns_and_tells_what_it_did(data):
    network = relrnn.Network(relrnn.architecture(encoder="48", core="rnn:40:24", head="20"), seq_len=4)
    before = network.evaluate(data.x_train, data.y_train)
    history = network.train(data.x_train, data.y_train, epochs=3, lr=2e-3, dropout=0, validation=(data.x_test, data.y_test), progress=False)
    after = network.evaluate(data.x_train, data.y_train)
    assert len(history) == 3 and len(history.validation_loss) == 3 and min(history.seconds) > 0
    assert history.loss[-1] < history.loss[0] and after["loss"] < before["loss"] and after["accuracy"] > before["accuracy"]
    assert history.validation_accuracy[-1] == network.evaluate(data.x_test, data.y_test)["accuracy"]
    assert not network.zero_logit
    network.train(data.x_train, data.y_train, epochs=1, zero_logit=True, progress=False)
    assert network.zero_logit


def test_an_explanation_shows_itself(network, floats, data):
    page = network.explain(floats[:3])._repr_html_()
    assert page.count("data:image/png;base64,") == 6 and "class" in page
    page = network.explain(data.x_test[:14], target="all")._repr_html_()
    assert page.count("data:image/png;base64,") == 12 * 11 and "and 2 more" in page


def test_an_explanation_is_drawn(tmp_path, network, floats):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    found = network.explain(floats)
    found.plot().savefig(tmp_path / "eight.png")
    figure = network.explain(floats, target="all").plot([0, 5])
    assert len(figure.axes) == 22
    with pytest.raises(ValueError, match="there are 40 images"):
        found.plot([40])


def test_threads_do_not_change_a_bit(network, floats):
    before = relrnn.threads()
    try:
        relrnn.set_threads(1)
        one = network.explain(floats).relevance.tobytes()
        relrnn.set_threads(3)
        assert relrnn.threads() == 3
        assert network.explain(floats).relevance.tobytes() == one
    finally:
        relrnn.set_threads(before)


def test_python_runs_while_a_network_computes(network, data):
    counted, stop = [0], threading.Event()

    def count():
        while not stop.is_set():
            counted[0] += 1
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    x = np.repeat(data.x_test, 200, axis=0)
    thread.start()
    try:
        start = counted[0]
        network.explain(x, progress=False)
        during = counted[0] - start
    finally:
        stop.set()
        thread.join()
    # With the GIL held all the time the thread would not have moved.
    assert during >= 3


def test_threads_of_python_compute_at_once(network, floats):
    expected, found = network.predict(floats).tobytes(), []
    threads = [threading.Thread(target=lambda: found.append(network.predict(floats).tobytes())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [expected] * 4


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*")
def test_a_forked_process_computes(network, floats):
    expected = network.predict(floats).tobytes()
    child = os.fork()
    if child == 0:
        os._exit(0 if network.predict(floats).tobytes() == expected else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_the_training_continues_where_another_thread_predicts(network, data, floats):
    other = copy.deepcopy(network)
    thread = threading.Thread(target=other.train, args=(data.x_train, data.y_train), kwargs={"epochs": 3, "progress": False})
    thread.start()
    while thread.is_alive():
        assert np.isfinite(other.predict(floats[:1])).all()
    thread.join()
    assert other.predict(floats).tobytes() != network.predict(floats).tobytes()
