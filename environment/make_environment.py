# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""
Make the Python environment that `make demo` and `make test` run in.

Uses the standard library only, because it runs before anything is installed. Each step leaves a
stamp, a file that holds a hash of all the step depends on, and leaves it only after it succeeded:
a second run skips what is done, and an interrupted run carries on where it stopped.

With no ROS 2 around, rclpy and the messages come as wheels, and vision_msgs, which has no wheel,
is built from the definitions in `interfaces/`. Where a ROS 2 is sourced, the environment sees its
packages instead and adds only what is missing.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
import contextlib
import hashlib
import os
from pathlib import Path
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time

ROOT = Path(__file__).resolve().parent.parent
REQUIREMENTS = ROOT / 'requirements'
INTERFACES = ROOT / 'environment' / 'interfaces' / 'vision_msgs'
DISTROS = ('kilted', 'jazzy')
OLDEST_CMAKE = (3, 20)

# Tells a sourced ROS 2 from leftovers of one: what the nodes import besides vision_msgs.
ROS_IMPORTS = 'import rclpy, sensor_msgs.msg, std_srvs.srv, diagnostic_msgs.msg'

# Requirements that a sourced ROS 2 brings, and the modules to know them by. Its own are kept: it
# was compiled against its NumPy, and pip could not see the OpenCV that apt installed.
SYSTEM_PACKAGES = {
    'catkin-pkg': 'catkin_pkg',
    'empy': 'em',
    'numpy': 'numpy',
    'opencv-python-headless': 'cv2',
    'PyYAML': 'yaml',
}


class SetUpError(Exception):
    """Something the user has to mend; the message is one line and says how."""


class Environment:
    """
    A virtual environment, its stamps and its log.

    :param path: the folder of the environment.
    :param ros: what provides ROS 2: 'wheels kilted', 'wheels jazzy' or 'sourced <distribution>'.
    """

    def __init__(self, path: Path, ros: str) -> None:
        self.path = path
        self.ros = ros
        self.python = path / 'bin' / 'python'
        self.log = path / 'set-up.log'
        self._stamps = path / '.stamps'
        self._digests = {'': ''}

    @property
    def sourced(self) -> bool:
        """Whether ROS 2 comes from outside of the environment."""
        return self.ros.startswith('sourced')

    def done(self, name: str, inputs: Sequence[Path | str], after: str = '') -> bool:
        """
        Tell whether a step is done.

        :param name: of the step, which is the name of its stamp.
        :param inputs: the files and words that the step depends on.
        :param after: the step that this one builds on; ask for that one first.
        """
        digest = hashlib.sha256(self._digests[after].encode())
        for item in inputs:
            digest.update(item.read_bytes() if isinstance(item, Path) else item.encode())
            digest.update(b'\0')
        self._digests[name] = digest.hexdigest()
        stamp = self._stamps / name
        return stamp.is_file() and stamp.read_text() == self._digests[name]

    @contextlib.contextmanager
    def step(self, name: str, title: str) -> Iterator[None]:
        """Say what is being done and how long it took; stamp it when it succeeded."""
        print(f'[set-up] {title} ... ', end='', flush=True)
        begin = time.monotonic()
        try:
            yield
        except BaseException as error:
            print('failed' if isinstance(error, Exception) else 'stopped', flush=True)
            raise
        self._stamps.mkdir(parents=True, exist_ok=True)
        # Renaming is atomic: a stamp is whole or absent.
        part = self._stamps / f'{name}.part'
        part.write_text(self._digests[name])
        part.replace(self._stamps / name)
        print(f'{time.monotonic() - begin:.1f} s', flush=True)

    def variables(self) -> dict[str, str]:
        """Return the environment variables for the programs that the steps run."""
        variables = dict(os.environ)
        variables['PATH'] = f'{self.path / "bin"}{os.pathsep}{variables.get("PATH", os.defpath)}'
        variables['VIRTUAL_ENV'] = str(self.path)
        prefixes = [str(self.path)]
        if self.sourced:
            prefixes += variables.get('AMENT_PREFIX_PATH', '').split(os.pathsep)
        else:
            # Anything there would shadow what is installed here.
            variables.pop('PYTHONPATH', None)
            variables.pop('PYTHONHOME', None)
        variables['AMENT_PREFIX_PATH'] = os.pathsep.join(filter(None, prefixes))
        if not self.sourced:
            variables['CMAKE_PREFIX_PATH'] = str(self.path)
        return variables

    def run(self, *command: str | Path) -> None:
        """
        Run a program; its output goes to the log.

        :raises subprocess.CalledProcessError: when it fails; `output` is what it printed.
        """
        words = [str(word) for word in command]
        self.path.mkdir(exist_ok=True)
        with self.log.open('a+') as log:
            log.write(f'\n$ {" ".join(words)}\n')
            log.flush()
            begin = log.tell()
            status = subprocess.run(
                words, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                env=self.variables(), cwd=ROOT, check=False).returncode
            if status:
                log.seek(begin)
                raise subprocess.CalledProcessError(status, words, output=log.read())

    def pip_install(self, *words: str | Path) -> None:
        """
        Install with pip.

        :raises SetUpError: with the likely cause in one line.
        """
        # A pip that was killed may leave half a package which it would take for a whole one.
        marker = self.path / '.pip-is-at-work'
        marker.touch()
        try:
            self.run(self.python, '-m', 'pip', 'install', '--quiet', '--no-input',
                     '--disable-pip-version-check', '--retries', '2', *words)
        except subprocess.CalledProcessError as error:
            marker.unlink()
            raise SetUpError(explain_pip(error.output, self.log)) from error
        marker.unlink()

    def half_installed(self) -> bool:
        """Tell whether an earlier run was stopped while pip was at work."""
        return (self.path / '.pip-is-at-work').exists()


def explain_pip(output: str, log: Path) -> str:
    """Say in one line why pip failed, from what it printed."""
    if re.search(r'NewConnectionError|ConnectTimeout|ReadTimeout|NameResolutionError'
                 r'|Temporary failure in name resolution|ProxyError|SSLError'
                 r'|ConnectionResetError|Connection broken|IncompleteRead', output):
        return ('the package index cannot be reached: check the network (or the proxy and pip '
                f'settings) and run the same command again; details: {log}')
    if 'No space left on device' in output:
        return f'the disk is full: free some space under {ROOT} and run the same command again'
    missing = re.search(r'No matching distribution found for (\S+)', output)
    if missing:
        return (f'no build of {missing.group(1)} for Python {platform.python_version()} on '
                f'{platform.machine()}: try another Python with PYTHON=python3.12; '
                f'details: {log}')
    errors = re.findall(r'ERROR: (.+)', output)
    return f'pip failed: {errors[-1] if errors else "no reason given"}; details: {log}'


def succeeds(*command: str) -> bool:
    """Tell whether a program runs and exits with status 0."""
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, check=False).returncode == 0
    except OSError:
        return False


def find_ros(wanted: str | None) -> str:
    """
    Decide where ROS 2 comes from.

    :param wanted: the distribution the user asked for, or None.
    :returns: 'sourced <distribution>' or 'wheels <distribution>'.
    :raises SetUpError: when the sourced ROS 2 does not fit.
    """
    sourced = os.environ.get('ROS_DISTRO')
    if not sourced:
        return f'wheels {wanted or DISTROS[0]}'
    trial = subprocess.run([sys.executable, '-c', ROS_IMPORTS], stdin=subprocess.DEVNULL,
                           capture_output=True, text=True, check=False)
    if trial.returncode:
        reason = re.search(r'^\w+Error: .+', trial.stderr, re.MULTILINE)
        raise SetUpError(
            f'ROS 2 {sourced} is sourced, but {sys.executable} (Python '
            f'{platform.python_version()}) cannot use it '
            f'({reason.group() if reason else "no reason given"}): name the Python of that ROS 2 '
            'with PYTHON=/usr/bin/python3, or use a shell in which no ROS 2 is sourced')
    if wanted and wanted != sourced:
        raise SetUpError(f'ROS 2 {sourced} is sourced, but DISTRO={wanted} was asked for: leave '
                         'DISTRO out, or use a shell in which no ROS 2 is sourced')
    return f'sourced {sourced}'


def cmake_version() -> tuple[int, ...] | None:
    """Return CMake's version, or None where there is none."""
    if shutil.which('cmake') is None:
        return None
    text = subprocess.run(['cmake', '--version'], capture_output=True, text=True,
                          check=False).stdout
    found = re.search(r'version (\d+)\.(\d+)', text)
    return tuple(int(part) for part in found.groups()) if found else None


def check_build_tools() -> None:
    """
    Check for what building message definitions takes.

    :raises SetUpError: naming all that is missing at once.
    """
    missing = []
    version = cmake_version()
    if version is None:
        missing.append('CMake (package cmake)')
    elif version < OLDEST_CMAKE:
        missing.append(f'CMake 3.20 or newer (this one is {version[0]}.{version[1]})')
    for variable, names, what in (('CC', ('cc', 'gcc', 'clang'), 'a C compiler (package gcc)'),
                                  ('CXX', ('c++', 'g++', 'clang++'),
                                   'a C++ compiler (package g++)')):
        candidates = [os.environ[variable]] if os.environ.get(variable) else list(names)
        if not any(shutil.which(name.split()[0]) for name in candidates):
            missing.append(what)
    if not shutil.which('make') and not shutil.which('ninja'):
        missing.append('make (package make)')
    header = Path(sysconfig.get_path('include')) / 'Python.h'
    if not header.is_file():
        version_name = f'{sys.version_info.major}.{sys.version_info.minor}'
        missing.append(f'the headers of Python {version_name} (package python{version_name}-dev, '
                       f'expected at {header})')
    if missing:
        raise SetUpError(f'missing: {"; ".join(missing)}: install and run the same command again')


def check_machine(ros: str) -> None:
    """
    Check that the environment can be made on this machine at all.

    :raises SetUpError: when it cannot.
    """
    if not succeeds(sys.executable, '-c', 'import ensurepip, venv'):
        raise SetUpError(f'{sys.executable} cannot make virtual environments: install the '
                         'package python3-venv and run the same command again')
    if ros.startswith('wheels'):
        if sys.platform != 'linux' or platform.machine() != 'x86_64':
            raise SetUpError(
                f'ROS 2 comes as wheels for Linux on x86-64 only, not for {platform.system()} on '
                f'{platform.machine()}: install ROS 2, source it and run the same command again')
        check_build_tools()


def make_venv(environment: Environment) -> None:
    """Make the bare virtual environment anew."""
    if environment.path.exists():
        shutil.rmtree(environment.path)
    options = ['--system-site-packages'] if environment.sourced else []
    environment.run(sys.executable, '-m', 'venv', *options, environment.path)


def requirement_names(file: Path) -> list[str]:
    """Return the requirements in a file, without its comments."""
    lines = (line.split('#')[0].strip() for line in file.read_text().splitlines())
    return [line for line in lines if line]


def requirements(environment: Environment, *names: str) -> list[str | Path]:
    """
    Return pip's words for files of requirements, under the pinned versions.

    :param names: of the files, without the ending.
    """
    if not environment.sourced:
        words: list[str | Path] = ['--constraint', REQUIREMENTS / 'constraints.txt']
        for name in names:
            words += ['--requirement', REQUIREMENTS / f'{name}.txt']
        return words
    kept = {package for package, module in SYSTEM_PACKAGES.items()
            if succeeds(sys.executable, '-c', f'import {module}')}
    # What is not there has to fit what is, so the pins of both are left out.
    pins = [line for line in requirement_names(REQUIREMENTS / 'constraints.txt')
            if line.split('==')[0] not in SYSTEM_PACKAGES]
    if 'numpy' in kept:
        version = subprocess.run(
            [sys.executable, '-c', 'import numpy; print(numpy.__version__)'],
            capture_output=True, text=True, check=True).stdout.strip()
        pins.append(f'numpy=={version}')
    constraints = environment.path / 'constraints.txt'
    constraints.write_text('\n'.join(pins) + '\n')
    return ['--constraint', constraints,
            *(line for name in names for line in requirement_names(REQUIREMENTS / f'{name}.txt')
              if line not in kept)]


def mend_cmake_exports(environment: Environment) -> None:
    """
    Set right the include directories that the ROS wheels' CMake files name.

    They name the folders of the machine which built the wheels.
    """
    query = subprocess.run(
        [environment.python, '-c', 'import numpy, sysconfig; '
         'print(numpy.get_include()); print(sysconfig.get_path("include"))'],
        env=environment.variables(), capture_output=True, text=True, check=True)
    numpy_include, python_include = query.stdout.split('\n')[:2]
    for file in (environment.path / 'share').glob('*/cmake/*.cmake'):
        text = file.read_text()
        mended = re.sub(r'/opt/python/[^;"]*/numpy/_core/include', numpy_include, text)
        mended = re.sub(r'/opt/python/[^;"]*/include/python3\.\d+', python_include, mended)
        if mended != text:
            file.write_text(mended)


def build_vision_msgs(environment: Environment) -> None:
    """
    Build vision_msgs into the environment.

    :raises SetUpError: when CMake or the compiler fails.
    """
    build = environment.path / 'build-vision_msgs'
    shutil.rmtree(build, ignore_errors=True)
    jobs = str(len(os.sched_getaffinity(0)))
    try:
        environment.run(
            'cmake', '-S', INTERFACES, '-B', build,
            f'-DCMAKE_INSTALL_PREFIX={environment.path}',
            f'-DPython3_EXECUTABLE={environment.python}',
            '-DCMAKE_BUILD_TYPE=Release', '-DBUILD_TESTING=OFF',
            # Lets one library of the package find another.
            f'-DCMAKE_INSTALL_RPATH={environment.path / "lib"}')
        environment.run('cmake', '--build', build, '--parallel', jobs)
        environment.run('cmake', '--install', build)
    except subprocess.CalledProcessError as error:
        raise SetUpError(f'vision_msgs did not build; details: {environment.log}') from error
    if environment.sourced:
        preload_vision_msgs(environment)
    shutil.rmtree(build)


def preload_vision_msgs(environment: Environment) -> None:
    """
    Let a sourced ROS 2 find the libraries of the vision_msgs that was built here.

    ROS 2 opens them by name along LD_LIBRARY_PATH, where this environment is not; a library that
    is open already is found by its name all the same.
    """
    # Not sysconfig's word for it: Debian's Python names a folder that virtual environments lack.
    packages = environment.path.joinpath(
        'lib', f'python{sys.version_info.major}.{sys.version_info.minor}', 'site-packages')
    module = packages / 'vision_msgs' / '__init__.py'
    module.write_text(
        'import ctypes\n'
        'from pathlib import Path\n\n'
        f"for _library in sorted(Path({str(environment.path / 'lib')!r}).glob("
        "'libvision_msgs__*_c.so')):\n"
        '    ctypes.CDLL(str(_library))\n')


def make_environment(environment: Environment, purpose: str) -> None:
    """
    Do the steps that are not done yet.

    :param environment: where to.
    :param purpose: 'demo', or 'test' for torch and the tools as well.
    """
    source, distro = environment.ros.split()
    constraints = REQUIREMENTS / 'constraints.txt'
    begin = time.monotonic()
    worked = False

    identity = [environment.ros, sys.version, sys.executable, str(environment.path)]
    if not environment.done('python', identity) or environment.half_installed():
        worked = True
        again = ', anew after an interrupted installation' if environment.half_installed() else ''
        with environment.step('python', f'Python {platform.python_version()} environment in '
                                        f'{environment.path.name}{again}'):
            make_venv(environment)

    lists = ['build', 'runtime'] if environment.sourced else ['build', f'ros-{distro}', 'runtime']
    inputs = [constraints, *(REQUIREMENTS / f'{name}.txt' for name in lists)]
    if not environment.done('runtime', inputs, after='python'):
        worked = True
        what = 'runtime packages' if environment.sourced else f'ROS 2 {distro} and the runtime'
        with environment.step('runtime', f'installing {what}'):
            environment.pip_install(*requirements(environment, *lists))

    definitions = [INTERFACES / 'CMakeLists.txt', INTERFACES / 'package.xml',
                   *sorted((INTERFACES / 'msg').glob('*.msg'))]
    if not environment.done('vision_msgs', definitions, after='runtime'):
        worked = True
        if environment.sourced and succeeds(sys.executable, '-c', 'import vision_msgs.msg'):
            with environment.step('vision_msgs', f'vision_msgs is in ROS 2 {distro}'):
                pass
        else:
            check_build_tools()
            with environment.step('vision_msgs', 'building the vision_msgs messages'):
                if not environment.sourced:
                    mend_cmake_exports(environment)
                build_vision_msgs(environment)

    package = [ROOT / name for name in ('setup.py', 'setup.cfg', 'pyproject.toml', 'package.xml')]
    if not environment.done('package', package, after='runtime'):
        worked = True
        with environment.step('package', 'installing prune_perception (editable)'):
            environment.pip_install('--no-deps', '--no-build-isolation', '--editable', ROOT)

    tools = [constraints, REQUIREMENTS / 'test.txt']
    if purpose == 'test' and not environment.done('test', tools, after='runtime'):
        worked = True
        with environment.step('test', 'installing torch and the test tools (large)'):
            environment.pip_install(*requirements(environment, *lists, 'test'))

    if worked:
        print(f'[set-up] {environment.path.name} is ready: ROS 2 {distro} ({source}), '
              f'for {purpose}; {time.monotonic() - begin:.0f} s', flush=True)


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description='Make the environment of prune_perception.')
    parser.add_argument('--path', type=Path, required=True, help='folder of the environment')
    parser.add_argument('--for', dest='purpose', choices=('demo', 'test'), default='demo',
                        help='test adds torch and the test tools')
    parser.add_argument('--distro', choices=DISTROS,
                        help='ROS 2 distribution (default: the one that is sourced, or kilted)')
    return parser.parse_args()


def main() -> int:
    """
    Make the environment.

    :returns: 0; 1 when something has to be mended first; 130 after Ctrl-C.
    """
    arguments = parse_arguments()
    try:
        ros = find_ros(arguments.distro)
        check_machine(ros)
        make_environment(Environment(arguments.path.resolve(), ros), arguments.purpose)
    except SetUpError as error:
        print(f'[set-up] error: {error}', file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f'[set-up] error: {error.cmd[0]} failed with status {error.returncode}; details: '
              f'{arguments.path.resolve() / "set-up.log"}', file=sys.stderr)
        return 1
    except OSError as error:
        print(f'[set-up] error: {error.filename}: {error.strerror}', file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('[set-up] interrupted: run the same command again to carry on', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
