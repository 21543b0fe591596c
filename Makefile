# make run   set up .venv, then search, train, score and export on the built-in
#            corpus; RUN_FLAGS="--data-dir ..." is passed to the recipe
# make check set up .venv, then style, types and the quick tests: the daily loop
# make test  set up .venv, then style, types, every test and every doctest
# make docs  set up .venv, then build docs/_build/html and run its examples
PYTHON ?= python3
VENV ?= .venv
# Two processes at most: each test process holds TensorFlow and both cores. Files
# in the order of tests/conftest.py, the longest first.
PYTEST_FLAGS ?= -n 2 --dist loadfile --no-loadscope-reorder
# Of this process and its tests' processes; programs that tests start are left out.
COVERAGE ?= -p tests.line_coverage
BIN := $(VENV)/bin
# Bytecode is made of what is imported, when it is: most modules never are. Where
# it may not be kept (containers often set this variable), each process that
# imports TensorFlow compiles it anew, which takes ten seconds more.
unexport PYTHONDONTWRITEBYTECODE
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check \
  --no-compile -c constraints.txt
INSTALLED := $(VENV)/.installed
# What running needs; tests need all extras.
RUNNABLE := $(VENV)/.runnable

.PHONY: run check test test-tfio test-transformers install lint types docs bench clean

run: $(RUNNABLE)
	$(BIN)/python recipes/iemocap_emodarts.py $(RUN_FLAGS)

check: lint types
	$(BIN)/python -m pytest $(PYTEST_FLAGS) -q -m "not slow"

# Three runs, as TensorFlow's memory grows with every graph of a process: one run
# of all would need 20 GB.
TESTED := $(BIN)/python -m pytest $(PYTEST_FLAGS) $(COVERAGE)
MATRIX := tests/experiments/test_same_answers.py
test: lint types
	@rm -f .coverage .coverage.*
	$(TESTED) --dist load $(MATRIX)
	$(TESTED) -m slow --ignore=$(MATRIX)
	$(TESTED) -m "not slow"
	@$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --skip-covered

# The one module that imports tensorflow-io, beside the last TensorFlow that its
# binary loads with; a venv of its own, as that TensorFlow wants NumPy 1.
TFIO_VENV ?= .venv-tfio
test-tfio:
	test -x $(TFIO_VENV)/bin/python || $(PYTHON) -m venv $(TFIO_VENV)
	$(TFIO_VENV)/bin/python -m pip install --quiet tensorflow-cpu==2.16.2 \
	  tensorflow-io==0.37.1 keras==3.15.1 soundfile soxr pytest
	PYTHONPATH=. $(TFIO_VENV)/bin/python -m pytest -q --noconftest -c /dev/null \
	  --rootdir . -p no:cacheprovider tests/audio/test_graph_decoding.py

# The encoders against transformers: in a venv of its own, as torch is larger than
# all the rest together and cannot share a process with TensorFlow. Keras runs on
# torch there, which shows that the encoders need no TensorFlow.
TRANSFORMERS_VENV ?= .venv-transformers
test-transformers:
	test -x $(TRANSFORMERS_VENV)/bin/python || $(PYTHON) -m venv $(TRANSFORMERS_VENV)
	$(TRANSFORMERS_VENV)/bin/python -m pip install --quiet -c constraints.txt \
	  torch 'transformers>=5.24' keras h5py lazy_loader safetensors soundfile pytest
	KERAS_BACKEND=torch PYTHONPATH=. $(TRANSFORMERS_VENV)/bin/python -m pytest -q \
	  --noconftest -c /dev/null --rootdir . -p no:cacheprovider \
	  tests/encoders/test_transformers.py tests/encoders/test_published.py

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

# Warnings are errors: a link to nothing, a record on no page. The second line
# runs the pages' examples. Sphinx needs Python 3.11, see setup.cfg.
SPHINX := $(BIN)/sphinx-build -q -W --keep-going -d docs/_build/doctrees
docs: $(INSTALLED)
	@$(BIN)/python -c 'import sphinx' 2>/dev/null \
	  || { echo "make docs needs Python 3.11 or 3.12" >&2; exit 1; }
	$(SPHINX) -E -b html docs docs/_build/html
	$(SPHINX) -b doctest docs docs/_build/doctest

bench: $(INSTALLED)
	for script in light_sernet litert_files recurrent_cell search_step; do $(BIN)/python benchmarks/$$script.py || exit 1; done

install: $(INSTALLED)

# A stamp file: done once, and again when what is installed may have changed.
# The package itself is there already: of `-e .` it would be made anew.
$(INSTALLED): $(RUNNABLE)
	$(PIP) 'ser_keras[dev]'
	@touch $@

$(RUNNABLE): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' \
	  || { echo "ser_keras needs Python 3.10, 3.11 or 3.12, and $(PYTHON) is" \
	       "$$($(PYTHON) -V 2>&1). Try: make PYTHON=python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) \
	  || { rm -rf $(VENV); echo "'$(PYTHON) -m venv' failed. On Debian and Ubuntu:" \
	       "apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 \
	  || { echo "$(VENV) has no pip. Remove it, install your system's" \
	       "python3-venv package and try again." >&2; exit 1; }
	$(PIP) -e .
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info
