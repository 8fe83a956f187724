# Everything sets itself up: a fresh clone needs make, Python 3.11 to 3.13, and nothing else.
#   make book PYTHON=/path/to/python3.12     to choose the Python

PYTHON ?=
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
READY := $(VENV)/.ready
ONE_AT_A_TIME := $(if $(shell command -v flock),flock $(VENV).lock)
CANDIDATES := $(or $(PYTHON),python3 python3.13 python3.12 python3.11 python)
SUITABLE := import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))

.PHONY: help book published paper executed serve test bench verify chapter clean distclean

help:  ## show this list
	@sed -n 's/^\([a-z]*\):.*## /\1|/p' Makefile | awk -F'|' '{ printf "make %-10s %s\n", $$1, $$2 }'

book: $(STAMP)  ## execute every chapter with the quick profile and build the site
	$(BIN)/python tools/execute.py notebooks/*.py --profile quick
	$(BIN)/python tools/site.py --profile quick

published: $(STAMP)  ## build the site from the published results, without computing them again
	$(BIN)/python tools/execute.py notebooks/*.py --profile laptop -p compute false
	$(BIN)/python tools/site.py --profile laptop

# make paper OVERRIDES=my.yaml: with parameters of your own
paper: $(STAMP)  ## execute every chapter with the papers' protocols, on a GPU; again after a stop
	$(BIN)/python tools/paper.py $(if $(OVERRIDES),--overrides "$(OVERRIDES)")
	$(BIN)/python tools/site.py --profile paper

executed: $(STAMP)  ## gather what the branch of executed notebooks holds; after make published
	$(BIN)/python tools/executed_branch.py --profile laptop

serve: $(STAMP)  ## show the last built site at a local address; Ctrl-C ends it
	@index=$$(ls -t _build/site/*/index.html 2>/dev/null | head -n 1); \
	if test -z "$$index"; then echo "no site is built yet; run make book" >&2; exit 1; fi; \
	$(BIN)/python -u -m http.server 0 --bind 127.0.0.1 --directory "$${index%/index.html}" 2>/dev/null

test: $(STAMP)  ## run every test
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist loadfile

bench: $(STAMP)  ## measure speed against straightforward implementations
	@for script in benchmarks/*.py; do \
	  echo "$(BIN)/python $$script"; $(BIN)/python "$$script" || exit 1; \
	done

verify: $(STAMP)  ## recompute a sample of the published results and compare
	$(BIN)/python -m harness.verify results

chapter: $(STAMP)  ## start a chapter: make chapter NAME=my_question FROM=07_kkt_reconstruction
	@$(BIN)/python tools/new_chapter.py "$(NAME)" "$(FROM)"

clean:  ## remove what was executed and built
	rm -rf _build

distclean: clean  ## remove the Python environment, too
	rm -rf $(VENV) $(VENV).lock

# Two that start at once in a fresh clone: the second waits, and finds it done.
$(STAMP): pyproject.toml constraints.txt
	@$(ONE_AT_A_TIME) $(MAKE) -s --no-print-directory $(READY)
	@touch $@

$(READY): pyproject.toml constraints.txt
	@if ! $(BIN)/python -c "$(SUITABLE)" 2>/dev/null; then \
	  found=; \
	  for candidate in $(CANDIDATES); do \
	    if "$$candidate" -c "$(SUITABLE)" 2>/dev/null; then found=$$candidate; break; fi; \
	  done; \
	  if test -z "$$found"; then \
	    echo "No Python from 3.11 to 3.13 was found; install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; \
	  fi; \
	  rm -rf $(VENV); \
	  if command -v uv >/dev/null 2>&1; then uv venv --quiet --python "$$(command -v "$$found")" $(VENV); \
	  else "$$found" -m venv $(VENV); fi || exit 1; \
	fi
	@if command -v uv >/dev/null 2>&1; \
	then uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.[test]'; \
	else $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[test]'; fi
	@touch $@
