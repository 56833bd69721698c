# Two commands are enough on a fresh Debian or Ubuntu: `make demo` and `make test`. Both install what
# is missing (a virtual environment in .venv, compilers and QEMU from the distribution) and are
# quick the second time.

PYTHON ?= python3
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
LOWEST := .venv-lowest
DEMO := build/demo
PHOTOS := build/photographs

# Each word is COMMAND=PACKAGE: the package is installed when the command is missing. What begins
# with a slash is no command but a file that the Arm compiler must find.
TOOLS := gcc=gcc arm-none-eabi-gcc=gcc-arm-none-eabi /nosys.specs=libnewlib-arm-none-eabi \
	qemu-system-arm=qemu-system-arm
DEV_TOOLS := $(TOOLS) clang=clang clang-format=clang-format cppcheck=cppcheck cmake=cmake \
	ninja=ninja-build g++=g++
# Not in every distribution: the tests that want it are skipped where it is missing.
RARE_TOOLS := arduino-builder=arduino-builder

C_FILES = $(shell find firmware examples -name "*.[ch]") codegen/profile/counter.c

.PHONY: help
help: ## Say what can be made
	@sed -n 's/^\([a-z-]*\):.*## /\1 /p' Makefile | while read -r target text; do \
		printf '  make %-10s %s\n' "$$target" "$$text"; done

.PHONY: demo
demo: tools $(VENV)/demo.stamp ## Compile the default model, verify it on host and emulated M4, classify photographs
	$(BIN)/python examples/photographs.py $(PHOTOS)
	$(BIN)/thumbnet compile --core cortex-m4 -o $(DEMO) --force
	$(BIN)/thumbnet verify $(DEMO) --on host,qemu:cortex-m4 --images $(PHOTOS)
	$(BIN)/thumbnet simulate $(DEMO) --images $(PHOTOS)

.PHONY: test
test: lint ## Install everything and run lint and every test
	$(BIN)/python -m pytest -n $(JOBS)

.PHONY: test-all
test-all: test $(LOWEST)/dev.stamp ## As test, then the zoo at full width, then again with the oldest dependencies
	$(BIN)/python -m pytest --full
	$(LOWEST)/bin/python -m pytest -n $(JOBS)

.PHONY: lint
lint: dev-tools $(VENV)/dev.stamp ## Check format, style and types of Python and C
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	clang-format --dry-run -Werror $(C_FILES)
	cppcheck --quiet --std=c99 --enable=warning,style,performance,portability --inline-suppr \
		--error-exitcode=1 firmware codegen/profile/counter.c

.PHONY: format
format: dev-tools $(VENV)/dev.stamp ## Format Python and C
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	clang-format -i $(C_FILES)

.PHONY: clean
clean: ## Remove what was built, but not .venv
	rm -rf build dist .hypothesis .mypy_cache .pytest_cache .ruff_cache
	find codegen tests examples -name __pycache__ -prune -exec rm -rf {} +

.PHONY: tools dev-tools
tools:
	@sh tools/need.sh $(TOOLS)
dev-tools:
	@sh tools/need.sh $(DEV_TOOLS)
	-@sh tools/need.sh $(RARE_TOOLS)

$(BIN)/python:
	@sh tools/venv.sh $(PYTHON) $(VENV)

$(VENV)/demo.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo]'
	@touch $@

$(VENV)/dev.stamp: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[demo,dev]'
	@touch $@ $(VENV)/demo.stamp

# Python 3.10 to 3.12 only: the oldest dependencies have no wheels for newer ones.
$(LOWEST)/dev.stamp: pyproject.toml tools/lowest.py | $(BIN)/python
	@sh tools/venv.sh $(PYTHON) $(LOWEST)
	$(BIN)/python tools/lowest.py > $(LOWEST)/constraints.txt
	$(LOWEST)/bin/python -m pip install --quiet --disable-pip-version-check \
		--constraint $(LOWEST)/constraints.txt --editable '.[demo,dev]'
	@touch $@
