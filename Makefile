# make setup   virtual environment in .venv/ with pinned packages
# make demo    train with mixup and without on drawn images; make demo DATA=folder on yours
#              (python -m bench.cifar10 DATA: CIFAR-10 with mixup, in one script to copy)
# make test    all tests
# make soak    20,000 batches in each of six ways, and two hours of fuzzing: about two hours and a half
# make lint    what CI checks
# make docs    the pages of docs/ as a site in build/site; make pictures draws their pictures
# make dist    wheel and sdist into dist/, each installed into an empty environment and used there
# make gpu-check PHOTOS=folder   on a machine with a GPU: all that needs one, into gpu-check/; CIFAR=folder trains on CIFAR-10, too
# make clean   remove everything that the other targets made

PYTHON ?= python3
BIN := .venv/bin
# torch first and pinned, so that what depends on it can't bring another build of it.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --quiet -c constraints.txt

.PHONY: setup demo test soak lint docs pictures dist gpu-check clean turbojpeg

setup: .venv/.stamp turbojpeg

.venv/.stamp: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	$(PIP) torch==2.13.0
	$(PIP) torchvision==0.28.0 -e ".[test,dev,bench,docs]"
	touch $@

# Packages of the system: the library that PyTurboJPEG finds by itself, and jpegtran, which `dali-mixup pack` calls.
turbojpeg: .venv/.stamp
	@if ! $(BIN)/python -c "import turbojpeg; turbojpeg.TurboJPEG()" 2>/dev/null || ! command -v jpegtran >/dev/null; then \
		if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
			apt-get update -qq && apt-get install -qq -y libturbojpeg0 libjpeg-turbo-progs; \
		else \
			echo "libturbojpeg or jpegtran is missing; on Debian and Ubuntu: sudo apt-get install libturbojpeg0 libjpeg-turbo-progs" >&2; \
		fi; \
	fi

demo: setup
	$(BIN)/dali-mixup demo $(if $(DATA),--data "$(DATA)")

test: setup
	$(BIN)/python -m pytest -n 2 --dist loadfile

soak: setup
	$(BIN)/python -m bench.fuzz --minutes 60 --json bench/results/fuzz.json
	$(BIN)/python -m bench.fuzz --decode --minutes 60 --json bench/results/fuzz_decode.json
	$(BIN)/python -m bench.soak --json bench/results/soak.json --plot bench/results/soak.png

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/pyright --pythonpath $(BIN)/python

docs: setup
	$(BIN)/mkdocs build --strict --quiet

pictures: setup
	$(BIN)/python docs/draw.py

dist: setup
	$(BIN)/python tests/scripts/dist.py

OUT ?= gpu-check
gpu-check: setup
	rm -rf .gpudata
	$(BIN)/python -m bench.gpu_check prepare "$(PHOTOS)" --out .gpudata $(if $(CIFAR),--cifar "$(CIFAR)")
	$(BIN)/python -m bench.gpu_check .gpudata --out "$(OUT)"

clean:
	rm -rf .venv .data build dist *.egg-info .pytest_cache .ruff_cache .hypothesis preview.png
	find dali_mixup pipelines tests bench -name __pycache__ -prune -exec rm -rf {} +
