# make demo   train and evaluate JVI on scikit-learn's digits, draw a picture
# make test   run the tests        make lint   check style
# make reproduce TARGET=nowozin2018-table1   run a published table again; without TARGET all of them
#   BUDGET=full|small|tiny   PROFILE=slurm   ARGS="--status", "--cores 2", "--data-dir DATA", …
# make docs   build the documentation, run its tutorials, check its links; open build/docs/html/index.html
# make install   create .venv with everything that the above need (done by each of them)

PYTHON ?= python3
BIN := .venv/bin
PIP_ENV := PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt PIP_DISABLE_PIP_VERSION_CHECK=1

.PHONY: demo test bench lint docs reproduce install clean

demo: install
	$(BIN)/python scripts/demo.py

test: install
	$(BIN)/python -m pytest -n auto --dist worksteal $(PYTEST_ARGS)

bench: install
	$(BIN)/python scripts/benchmark.py

reproduce: install
	$(BIN)/python scripts/reproduce.py $(if $(BUDGET),-b $(BUDGET)) $(if $(PROFILE),--profile $(PROFILE)) $(ARGS) $(TARGET)

lint: install
	$(BIN)/ruff check . && $(BIN)/ruff format --check .

docs: .venv/docs-installed
	$(BIN)/sphinx-build -W --keep-going -b html -d build/docs/doctrees docs build/docs/html
	@echo "The site is in build/docs/html/index.html"

install: .venv/installed

.venv/installed: requirements.txt constraints.txt pyproject.toml
	@$(PYTHON) -c 'import sys, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "jvi needs Python 3.11 or later with venv (Debian: apt install python3-venv), which" \
	    "$(PYTHON) is not; name another: make PYTHON=python3.12" >&2; exit 1; }
	@echo "Installing into .venv, once; this takes a minute or two"
	@$(PYTHON) -m venv .venv
	@$(PIP_ENV) $(BIN)/pip install --quiet --editable '.[test]'
	@touch $@

.venv/docs-installed: .venv/installed
	@$(PIP_ENV) $(BIN)/pip install --quiet --editable '.[docs]'
	@touch $@

clean:
	rm -rf .venv build docs/generated *.egg-info demo-output
