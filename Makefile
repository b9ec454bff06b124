# One command each; `make` alone lists them. Recipes use relative paths only, so a checkout's path may hold spaces.
SHELL := /bin/sh
PYTHON := .venv/bin/python
ARGS ?=
# The suite starts hundreds of processes: without compiled modules each of them compiles the portal again.
export PYTHONDONTWRITEBYTECODE =
.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help environment run test check bench lock clean

help: ## This list
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1|\2/p' Makefile | while IFS='|' read -r name text; do printf '%-18s %s\n' "$$name" "$$text"; done

environment: ## .venv with the locked packages; does nothing when it is up to date
	@./.ci/environment

run: environment ## The portal with demo data: prints URLs, logins and a call to paste. Ctrl-C stops it
	@exec $(PYTHON) manage.py up $(ARGS)

test: environment ## All tests; ARGS='tests/keys -k rotate' for some
	@found=$$(./.ci/chromium) && eval "$$found" && pooler=$$(./.ci/pgbouncer) && eval "$$pooler" && exec $(PYTHON) -m pytest -n 3 $(ARGS)

check: environment ## What CI runs: format, lint, types, imports, migrations, deploy check, tests
	$(PYTHON) -m ruff format --check .
	$(PYTHON) -m ruff check .
	BYOK_BUILD=1 $(PYTHON) -m mypy
	.venv/bin/lint-imports
	BYOK_BUILD=1 $(PYTHON) manage.py makemigrations --check --dry-run
	BYOK_BUILD=1 BASE_URL=https://portal.example $(PYTHON) manage.py check --deploy --fail-level WARNING
	BYOK_BUILD=1 $(PYTHON) manage.py spectacular --format openapi-json --validate --fail-on-warn --file /dev/null
	@$(MAKE) --no-print-directory test

bench: environment ## How fast everything is, on databases of their own, with wrk; takes hours. One alone: see bench/README.md
	@command -v wrk >/dev/null || { echo "make bench needs wrk (https://github.com/wg/wrk) on the PATH: apt install wrk" >&2; exit 1; }
	@missed=; for each in uses pages audit_log reminders offboarding; do echo "== bench/$$each.py"; \
		$(PYTHON) bench/$$each.py || missed="$$missed $$each"; done; \
		test -z "$$missed" || { echo "Missed a goal or failed:$$missed" >&2; exit 1; }

lock: ## For maintainers, with uv: resolve pyproject.toml into requirements.lock
	@command -v uv >/dev/null || { echo "make lock needs uv (https://docs.astral.sh/uv/) on the PATH" >&2; exit 1; }
	uv pip compile --universal --python-version 3.11 --generate-hashes --all-extras --no-emit-index-url \
		--no-emit-find-links --no-annotate --no-header -o requirements.lock pyproject.toml

clean: ## Remove caches and .venv; the demo's data stays
	rm -rf .venv .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache test-results
	find . -name __pycache__ -type d -not -path './.local/*' -prune -exec rm -rf {} +
