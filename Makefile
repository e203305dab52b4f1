# Two commands: `make run` and `make test`. They need Python 3.11 and make, nothing else.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
JOBS ?= 2
# What is installed beside the testbed; `make run EXTRAS=` does without the neural codec and PyTorch.
EXTRAS ?= [codec]
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: run test format lock mahimahi clean help

run: $(VENV)/.installed  ## run the quick-start suite and write its report
	@$(BIN)/testbed run scenarios/quickstart.yaml --out results/quickstart --jobs $(JOBS)
	@$(BIN)/testbed report results/quickstart

test: $(VENV)/.tox  ## pass every check (tests, lint, types, docs)
	@$(BIN)/tox run -q

format: $(VENV)/.tox  ## format the code
	@$(BIN)/tox run -q -e format

lock: $(VENV)/.tox  ## resolve the pinned constraints anew
	@$(BIN)/tox run -q -e lock

mahimahi:  ## install real mahimahi 0.98 on Debian, as root (sudo make mahimahi)
	@sh tools/install_mahimahi.sh
	@echo "mahimahi is installed; testbed doctor says whether it can run here"

clean:  ## remove environments and caches, keep results
	@rm -rf $(VENV) .tox .pytest_cache .mypy_cache .ruff_cache docs/_build

help:
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/ -/'

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("Python 3.11 or newer is needed, this is " + sys.version.split()[0] + "; set PYTHON=/path/to/python3.11") if sys.version_info < (3, 11) else None'
	@echo "Creating the environment in $(VENV) ..."
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml constraints.txt
	@echo "Installing the testbed (once) ..."
	@$(BIN)/python -m pip install -q -c constraints.txt -e '.$(EXTRAS)'
	@touch $@

$(VENV)/.tox: $(VENV)/bin/python constraints.txt
	@$(BIN)/python -m pip install -q -c constraints.txt tox tox-uv
	@touch $@
