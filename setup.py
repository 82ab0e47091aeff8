# Copyright 2026 the prune_perception authors
# SPDX-License-Identifier: Apache-2.0

"""Packaging of prune_perception, for colcon and for pip alike."""

from pathlib import Path
import re

from setuptools import find_packages, setup

NAME = 'prune_perception'
# setuptools wants paths relative to this file, and both colcon and pip run it from its folder.
ROOT = Path(__file__).resolve().parent
# Folders that the program reads at run time; they are installed as they are.
DATA_FOLDERS = ('config', 'demo', 'launch', 'models')


def read_version() -> str:
    """Return the version by reading the text: importing would need the dependencies."""
    text = (ROOT / NAME / '__init__.py').read_text()
    found = re.search(r"^__version__ = '([^']+)'$", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{NAME}/__init__.py: no line like __version__ = '1.2.3'")
    return found.group(1)


def data_files() -> list[tuple[str, list[str]]]:
    """Return the files that go to `share/`, each folder's files with the folder they go to."""
    files = [
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
    ]
    for top in DATA_FOLDERS:
        for folder in sorted({path.parent for path in (ROOT / top).rglob('*') if path.is_file()}):
            relative = folder.relative_to(ROOT)
            if '__pycache__' in relative.parts:
                continue
            names = sorted(path.name for path in folder.iterdir() if path.is_file())
            files.append((f'share/{NAME}/{relative}', [f'{relative}/{name}' for name in names]))
    return files


setup(
    name=NAME,
    version=read_version(),
    description='Prune a detector for a robot, and run it in ROS 2 with its energy told.',
    author='the prune_perception authors',
    maintainer='the prune_perception authors',
    maintainer_email='prune-perception@users.noreply.github.com',
    license='Apache-2.0',
    license_files=['LICENSE'],
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed']},
    data_files=data_files(),
    python_requires='>=3.11',
    # Lower bounds are what Ubuntu 24.04 has. OpenCV is missing here on purpose: there it comes
    # by apt, which leaves nothing that pip could see, and pip would put a second one beside it.
    install_requires=[
        'numpy>=1.26',
        'onnxruntime>=1.18',
        'PyYAML>=6.0',
    ],
    extras_require={
        'bags': ['mcap>=1.2', 'rosbags>=0.10'],
        'dask': ['distributed>=2024.1'],
        'evaluation': ['pycocotools>=2.0.6'],
        'nncf': ['nncf>=3.4'],
        'nvml': ['nvidia-ml-py>=12'],
        'offline': [
            'matplotlib>=3.8', 'onnx>=1.17', 'onnxscript>=0.5', 'safetensors>=0.4',
            'scipy>=1.11', 'torch>=2.6', 'torch-pruning>=1.5', 'tqdm>=4.66',
        ],
        'opencv': ['opencv-python-headless>=4.6'],
        'openvino': ['openvino>=2025.0'],
        'test': ['faster-coco-eval', 'mypy', 'pycocotools', 'pyroute2', 'pytest', 'ruff'],
    },
    zip_safe=True,
    entry_points={
        'console_scripts': [
            'demo_node = prune_perception.nodes.demo_node:main',
            'detector_node = prune_perception.nodes.detector_node:main',
            'power_monitor = prune_perception.nodes.power_monitor:main',
            'prune-perception = prune_perception.cli.main:main',
            'replay_node = prune_perception.nodes.replay_node:main',
        ],
    },
)
