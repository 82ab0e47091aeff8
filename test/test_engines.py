# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
import os
from pathlib import Path
import subprocess
import sys
import threading
from typing import Any

from bundles import COMMITTED, small_card, write_sees_one
import numpy as np
from numpy.typing import NDArray
import pytest

os.environ['ORT_DISABLE_TELEMETRY'] = '1'  # before it is imported, here as in the package

from prune_perception.bundle import (
    Bundle,
    BundleError,
    read_bundle,
    write_bundle,
)
from prune_perception.resources import find_model
from prune_perception.runtime.engines import (
    create_engine,
    EngineError,
    EngineOptions,
    ENGINES,
)

onnx = pytest.importorskip('onnx')
onnxruntime = pytest.importorskip('onnxruntime')

ROOT = Path(__file__).resolve().parent.parent
GRAPH_ENGINES = ('onnxruntime', 'openvino')


def graph(
        size: Sequence[int | str] = (1, 32, 64, 3), kind: int = onnx.TensorProto.UINT8,
        names: tuple[str, str] = ('fine', 'coarse'), channels: int = 14) -> bytes:
    """
    Return a network whose outputs are known.

    Channel k of the first output is k times the mean of the first colour over 8 x 8 pixels, and
    that of the second is k times the mean of the last colour over 16 x 16.
    """
    helper, nodes, outputs, weights = onnx.helper, [], [], []
    nodes.append(helper.make_node('Cast', ['image'], ['float'], to=onnx.TensorProto.FLOAT))
    nodes.append(helper.make_node('Transpose', ['float'], ['planes'], perm=[0, 3, 1, 2]))
    for name, colour, stride in zip(names, (0, 2), (8, 16), strict=True):
        values = np.zeros((channels, 3, 1, 1), np.float32)
        values[:, colour, 0, 0] = np.arange(channels)
        weights.append(onnx.numpy_helper.from_array(values, f'{name}.weight'))
        nodes.append(helper.make_node(
            'AveragePool', ['planes'], [f'{name}.mean'], kernel_shape=[stride, stride],
            strides=[stride, stride]))
        nodes.append(helper.make_node('Conv', [f'{name}.mean', f'{name}.weight'], [name]))
        shape = [1, channels, 32 // stride, 64 // stride]
        outputs.append(helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape))
    fed = helper.make_tensor_value_info('image', kind, list(size))
    model = helper.make_model(
        helper.make_graph(nodes, 'known', [fed], outputs, weights),
        opset_imports=[helper.make_opsetid('', 18)], ir_version=9)
    return bytes(model.SerializeToString())


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Bundle]:
    def write(data: bytes | None = None, **changes: Any) -> Bundle:
        card = small_card(network=None, **changes)
        return write_bundle(
            tmp_path / 'model', card, {'model.onnx': graph() if data is None else data})
    return write


@pytest.fixture
def image() -> NDArray[np.uint8]:
    image = np.zeros((1, 32, 64, 3), np.uint8)
    image[0, 8:16, 24:32] = (10, 0, 32)  # one cell of the first output, a quarter of the second
    return image


def refusal(kind: type[Exception], act: Callable[[], object]) -> str:
    """Return the message of a refusal, which is one line."""
    with pytest.raises(kind) as caught:
        act()
    assert '\n' not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize('name', GRAPH_ENGINES)
def test_outputs_by_hand(
        name: str, write: Callable[..., Bundle], image: NDArray[np.uint8]) -> None:
    pytest.importorskip(name)
    engine = create_engine(write(), EngineOptions(name, threads=1))
    fine, coarse = engine.run(image)
    assert (fine.shape, fine.dtype) == ((1, 14, 4, 8), np.float32)
    assert (coarse.shape, coarse.dtype) == ((1, 14, 2, 4), np.float32)
    expected = np.zeros((1, 14, 4, 8))
    expected[0, :, 1, 3] = 10 * np.arange(14)
    np.testing.assert_allclose(fine, expected, atol=1e-4)
    expected = np.zeros((1, 14, 2, 4))
    expected[0, :, 0, 1] = 8 * np.arange(14)
    np.testing.assert_allclose(coarse, expected, atol=1e-4)
    # The second run sees the second image, in the same buffer or not.
    image[:] = 1
    assert engine.run(image)[0][0, 3].tolist() == np.full((4, 8), 3.0).tolist()
    assert engine.run(np.full_like(image, 2))[1][0, 5].tolist() == np.full((2, 4), 10.0).tolist()


@pytest.mark.parametrize('name', GRAPH_ENGINES)
def test_outputs_come_in_the_order_of_the_card(
        name: str, write: Callable[..., Bundle], image: NDArray[np.uint8]) -> None:
    pytest.importorskip(name)
    outputs = small_card().outputs[::-1]
    first, second = create_engine(write(outputs=outputs), EngineOptions(name)).run(image)
    assert (first.shape, second.shape) == ((1, 14, 2, 4), (1, 14, 4, 8))


@pytest.mark.parametrize('name', GRAPH_ENGINES)
@pytest.mark.parametrize(('data', 'reason'), [
    (b'no graph', ' cannot load it: '), (b'', ' cannot load it: '),
    (graph()[:-100], ' cannot load it: '),
    (graph((1, 64, 32, 3)), "input 'image' is [1, 64, 32, 3], model.yaml says [1, 32, 64, 3]"),
    (graph(kind=onnx.TensorProto.FLOAT), "input 'image' is not uint8"),
    (graph(names=('fine', 'other')), "has no output 'coarse', which model.yaml names"),
    (graph(channels=13), "output 'fine' is [1, 13, 4, 8], model.yaml says [1, 14, 4, 8]"),
])
def test_graphs_that_do_not_fit_are_refused(
        name: str, data: bytes, reason: str, write: Callable[..., Bundle]) -> None:
    pytest.importorskip(name)
    bundle = write(data)
    message = refusal(BundleError, lambda: create_engine(bundle, EngineOptions(name)))
    assert message.startswith(f'{bundle.folder}/model.onnx: ')
    assert reason in message


@pytest.mark.parametrize('name', GRAPH_ENGINES)
def test_a_batch_of_any_size_fits(name: str, write: Callable[..., Bundle]) -> None:
    pytest.importorskip(name)
    create_engine(write(graph(('batch', 32, 64, 3))), EngineOptions(name))


@pytest.mark.parametrize('name', GRAPH_ENGINES)
def test_a_graph_that_changed_since_it_was_read_is_not_run(
        name: str, write: Callable[..., Bundle]) -> None:
    pytest.importorskip(name)
    bundle = write()
    (bundle.folder / 'model.onnx').write_bytes(graph(channels=13))
    message = refusal(BundleError, lambda: create_engine(bundle, EngineOptions(name)))
    assert message.startswith(f'{bundle.folder}/model.onnx: has changed or is incomplete')


# Options


@pytest.mark.parametrize(('options', 'reason'), [
    ({'name': 'tensorflow'}, "engine 'tensorflow' is unknown; known are onnxruntime, openvino"),
    ({'precision': 'int8'}, "precision 'int8' is unknown; known are f32, f16, bf16"),
    ({'threads': -1}, 'threads is -1; it must be 0 (automatic) or more'),
    ({'name': 'openvino', 'providers': ('CPU',)},
     'execution providers (CPU) are for engine onnxruntime, not openvino'),
])
def test_options_that_no_engine_knows_are_refused(
        options: dict[str, Any], reason: str) -> None:
    assert refusal(EngineError, lambda: EngineOptions(**options)).startswith(reason)


@pytest.mark.parametrize('name', ENGINES)
def test_a_missing_engine_says_how_to_install_it(
        name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, ENGINES[name][0], raising=False)
    message = refusal(
        EngineError, lambda: create_engine(read_bundle(COMMITTED), EngineOptions(name)))
    assert message.startswith(f'engine {name}: ')
    wanted = 'prune_perception[offline]' if name == 'torch' else name
    assert f"install it with 'pip install {wanted}' or choose another engine" in message


@pytest.mark.parametrize('name', GRAPH_ENGINES)
@pytest.mark.parametrize(('threads', 'expected'), [(0, 'automatic threads'), (1, '1 thread')])
def test_description(
        name: str, threads: int, expected: str, write: Callable[..., Bundle]) -> None:
    module = pytest.importorskip(name)
    engine = create_engine(write(), EngineOptions(name, threads))
    title, device = {
        'onnxruntime': ('ONNX Runtime', 'CPUExecutionProvider'), 'openvino': ('OpenVINO', 'CPU')
    }[name]
    version = module.__version__.split('-')[0]
    assert engine.description.startswith(f'{title} {version}, {device}, f32, {expected}')
    assert engine.problems == ()


def test_threads_reach_the_engine(
        write: Callable[..., Bundle], monkeypatch: pytest.MonkeyPatch) -> None:
    bundle, seen = write(), []
    original = onnxruntime.InferenceSession

    def session(data: bytes, settings: Any, **options: Any) -> Any:
        seen.append(settings.intra_op_num_threads)
        return original(data, settings, **options)

    monkeypatch.setattr(onnxruntime, 'InferenceSession', session)
    for threads in (0, 1, 2):
        create_engine(bundle, EngineOptions(threads=threads))
    assert seen == [0, 1, 2]


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason='needs two cores')
@pytest.mark.parametrize('name', ['openvino', 'torch'])
def test_threads_are_those_of_the_engine_whatever_thread_made_it(name: str) -> None:
    """As where the node makes an engine ready in one thread, and infers in an older one."""
    pytest.importorskip(name)
    bundle = read_bundle(find_model('nanodet_g_person_10'))
    image = np.zeros((1, bundle.card.input.height, bundle.card.input.width, 3), np.uint8)

    def run(engine: Any) -> int:
        engine.run(image)
        if name == 'torch':
            return int(sys.modules['torch'].get_num_threads())
        compiled = engine._request.get_compiled_model()
        return int(compiled.get_property('INFERENCE_NUM_THREADS'))

    found = []
    with ThreadPoolExecutor(1) as worker:
        for threads in (1, 0, 2, 0):
            with ThreadPoolExecutor(1) as preparation:
                engine = preparation.submit(
                    create_engine, bundle, EngineOptions(name, threads)).result()
                preparation.submit(run, engine).result()  # the warm-up
            found.append(worker.submit(run, engine).result())
            if threads:
                assert f'{threads} threads' in engine.description
    assert (found[0], found[2]) == (1, 2)
    assert found[1] == found[3], 'automatic is not what there was before'


# Precision


@pytest.mark.parametrize('precision', ['f16', 'bf16'])
def test_onnx_runtime_refuses_what_it_does_not_compute_in(
        precision: str, write: Callable[..., Bundle]) -> None:
    bundle = write()
    message = refusal(
        EngineError, lambda: create_engine(bundle, EngineOptions(precision=precision)))
    assert message.startswith('engine onnxruntime computes in f32 on CPUExecutionProvider')
    assert precision in message


@pytest.mark.parametrize('precision', ['f16', 'bf16'])
def test_torch_refuses_what_it_does_not_compute_in(precision: str) -> None:
    pytest.importorskip('torch')
    message = refusal(EngineError, lambda: create_engine(
        read_bundle(COMMITTED), EngineOptions('torch', precision=precision)))
    assert message == (
        f'engine torch computes in f32; for {precision} choose engine openvino')


@pytest.mark.parametrize(('precision', 'capability'), [('f16', 'FP16'), ('bf16', 'BF16')])
def test_openvino_computes_as_asked_or_refuses(precision: str, capability: str) -> None:
    openvino = pytest.importorskip('openvino')
    bundle, options = read_bundle(COMMITTED), EngineOptions('openvino', 2, precision)
    if capability in openvino.Core().get_property('CPU', 'OPTIMIZATION_CAPABILITIES'):
        engine = create_engine(bundle, options)
        assert f', {precision}, ' in engine.description
        image = np.random.default_rng(0).integers(0, 256, (1, 416, 416, 3), np.uint8)
        whole = create_engine(bundle, EngineOptions('openvino', 2)).run(image)[2].copy()
        error = np.abs(engine.run(image)[2] - whole).max()
        assert 1e-4 < error < 0.5, 'coarser than f32, and still the same network'
    else:
        message = refusal(EngineError, lambda: create_engine(bundle, options))
        assert message.startswith(
            f'engine openvino cannot compute in {precision} on this processor')


# Execution providers of ONNX Runtime


@pytest.fixture
def without_cuda() -> None:
    if 'CUDAExecutionProvider' in onnxruntime.get_available_providers():
        pytest.skip('this build of ONNX Runtime has CUDA')


@pytest.mark.usefixtures('without_cuda')
@pytest.mark.parametrize('cuda', ['CUDA', 'cuda', 'CUDAExecutionProvider'])
def test_a_missing_provider_is_a_problem_beside_the_cpu(
        cuda: str, write: Callable[..., Bundle], image: NDArray[np.uint8]) -> None:
    engine = create_engine(write(), EngineOptions(providers=(cuda, 'CPU')))
    (problem,) = engine.problems
    assert problem.lower().startswith(
        'execution provider cudaexecutionprovider was asked for, but this build of onnx runtime')
    assert 'CPUExecutionProvider' in problem
    assert 'CPUExecutionProvider' in engine.description
    assert engine.run(image)[0][0, 2, 1, 3] == pytest.approx(20)


@pytest.mark.usefixtures('without_cuda')
@pytest.mark.parametrize('providers', [('CUDA',), ('TensorRT', 'CUDA')])
def test_without_the_cpu_a_missing_provider_is_an_error(
        providers: tuple[str, ...], write: Callable[..., Bundle]) -> None:
    bundle = write()
    message = refusal(
        EngineError, lambda: create_engine(bundle, EngineOptions(providers=providers)))
    assert message.startswith('engine onnxruntime: execution provider ')
    assert message.endswith('Install the build that has it, or add CPU to the list')
    for name in providers:
        assert f'{name}ExecutionProvider was asked for' in message


@pytest.mark.parametrize('providers', [(), ('CPU',), ('cpu',), ('CPUExecutionProvider',)])
def test_the_cpu_alone_is_no_problem(
        providers: tuple[str, ...], write: Callable[..., Bundle]) -> None:
    assert create_engine(write(), EngineOptions(providers=providers)).problems == ()


@pytest.fixture
def broken_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let ONNX Runtime claim providers that then cannot start, as with a driver too old."""
    claimed = ['TensorrtExecutionProvider', 'CUDAExecutionProvider', 'CPUExecutionProvider']
    monkeypatch.setattr(onnxruntime, 'get_available_providers', lambda: claimed)


@pytest.mark.usefixtures('without_cuda', 'broken_providers')
@pytest.mark.filterwarnings('ignore:Specified provider')
def test_a_provider_that_cannot_start_is_a_problem(write: Callable[..., Bundle]) -> None:
    bundle = write()
    engine = create_engine(bundle, EngineOptions(providers=('CUDA', 'CPU')))
    assert engine.problems == (
        'execution provider CUDAExecutionProvider is installed but could not start; running on '
        'CPUExecutionProvider',)
    message = refusal(
        EngineError, lambda: create_engine(bundle, EngineOptions(providers=('CUDA',))))
    assert message.startswith(
        'engine onnxruntime: none of the execution providers asked for could start '
        '(CUDAExecutionProvider)')


@pytest.mark.usefixtures('without_cuda', 'broken_providers')
@pytest.mark.filterwarnings('ignore:Specified provider')
def test_half_precision_is_not_promised_where_tensorrt_did_not_start(
        write: Callable[..., Bundle]) -> None:
    bundle = write()
    options = EngineOptions(precision='f16', providers=('tensorrt', 'CPU'))
    message = refusal(EngineError, lambda: create_engine(bundle, options))
    assert message.startswith('engine onnxruntime computes in f32 on CPUExecutionProvider')


# What an engine must not do

RUN = """
import sys
import threading
calls = []
sys.addaudithook(lambda event, values: event in (
    'socket.connect', 'socket.getaddrinfo', 'socket.sendto') and calls.append((event, values)))
import numpy as np
from prune_perception.bundle import read_bundle
from prune_perception.runtime.detector import Detector
detector = Detector(read_bundle(sys.argv[1]), engine=sys.argv[2], threads=1)
detector.detect(np.full((480, 640, 3), 127, np.uint8))
import time
time.sleep(0.3)  # what would be sent is sent by a thread
heavy = {'torch', 'rclpy', 'openvino_telemetry', 'safetensors', 'onnx'}
print(sorted(name for name in heavy if sys.modules.get(name)), calls)
"""


@pytest.mark.parametrize('name', GRAPH_ENGINES)
def test_no_torch_is_loaded_and_nothing_is_sent(name: str, tmp_path: Path) -> None:
    pytest.importorskip(name)
    # Without the variables that keep such reports from tests, and those that move the cache.
    quiet = ('CI', 'TF_BUILD', 'JENKINS_URL', 'ORT_DISABLE_TELEMETRY', 'ORT_RUNNING_UNIT_TESTS',
             'XDG_CACHE_HOME', 'XDG_CONFIG_HOME', 'XDG_DATA_HOME')
    environment = {key: value for key, value in os.environ.items() if key not in quiet}
    result = subprocess.run(
        [sys.executable, '-c', RUN, str(COMMITTED), name], capture_output=True, text=True,
        check=False, cwd=ROOT, env={**environment, 'HOME': str(tmp_path)})
    assert result.returncode == 0, result.stderr
    assert result.stdout == '[] []\n'
    # Such a report begins with an identifier of the user, kept in the home folder.
    assert not list(tmp_path.rglob('*'))


@pytest.mark.parametrize('name', GRAPH_ENGINES)
def test_a_run_can_be_ended_and_the_next_one_is_not(
        tmp_path: Path, capfd: pytest.CaptureFixture[str], name: str) -> None:
    engine = create_engine(
        write_sees_one(tmp_path, 'long', 3, work=100), EngineOptions(name, threads=1))
    image = np.zeros((1, 32, 64, 3), np.uint8)
    engine.cancel()  # with nothing under way
    errors: list[Exception] = []

    def run() -> None:
        try:
            engine.run(image)
        except Exception as error:
            errors.append(error)
    running = threading.Thread(target=run)
    running.start()
    while running.is_alive():  # it may not have begun yet
        engine.cancel()
        running.join(0.05)
    assert len(errors) == 1
    assert capfd.readouterr().err == '', 'an error is raised, and not printed too'
    short = create_engine(write_sees_one(tmp_path, 'short', 3), EngineOptions(name, threads=1))
    expected = [output.copy() for output in short.run(image)]
    for output, wanted in zip(engine.run(image), expected, strict=True):
        np.testing.assert_allclose(output, wanted)
