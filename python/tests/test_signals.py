"""Ctrl-C ends what runs, at once, and progress is shown."""

import signal
import subprocess
import sys
import time

import pytest

TRAIN = """
import signal, sys, time
# A shell that starts a job in the background has it ignore the signal.
signal.signal(signal.SIGINT, signal.default_int_handler)
import relrnn
data = relrnn.datasets.synth(train=2000, test=10)
network = relrnn.Network("deep", seq_len=7)
print("go", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print(time.monotonic(), flush=True)
    assert network.predict(data.x_test).shape == (10, 10)
    sys.exit(130)
"""
CALLS = {
    "train": "network.train(data.x_train, data.y_train, epochs=1000)",
    "explain": "network.explain(data.x_train.repeat(50, axis=0), target='all')",
    "predict": "network.predict(data.x_train.repeat(200, axis=0))",
}


@pytest.mark.parametrize("name", CALLS)
def test_ctrl_c_ends_a_call_at_once(name):
    child = subprocess.Popen(
        [sys.executable, "-c", TRAIN.format(call=CALLS[name])], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout.readline() == "go\n"
    time.sleep(0.5)
    assert child.poll() is None
    sent = time.monotonic()
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 130, err
    took = float(out) - sent
    # 50 ms and a batch on a free machine.
    assert took < 2.0, f"{took:.2f} s"


def test_progress_is_a_bar_or_a_line_for_each_epoch():
    code = """
import sys
if {hidden}: sys.modules["tqdm"] = None; sys.modules["tqdm.auto"] = None
import relrnn
data = relrnn.datasets.synth(train=100, test=10)
network = relrnn.Network("deep", seq_len=4)
network.train(data.x_train, data.y_train, epochs=2, validation=(data.x_test, data.y_test), progress={shown})
"""
    run = lambda hidden, shown: subprocess.run(  # noqa: E731
        [sys.executable, "-c", code.format(hidden=hidden, shown=shown)], check=True, capture_output=True, text=True
    )
    plain = run(True, True)
    lines = plain.stderr.splitlines()
    assert len(lines) == 2 and lines[1].startswith("deep-4: epoch 2/2, loss ") and "validation" in lines[1]
    assert plain.stdout == "" and run(True, False).stderr == ""
    try:
        import tqdm  # noqa: F401
    except ImportError:
        pytest.skip("tqdm is not installed")
    assert "100%" in run(False, True).stderr
