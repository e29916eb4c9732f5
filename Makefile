# Everything starts here; the work is in Python (lab/toolchain).
TOOLCHAIN := python3 -m lab.toolchain
RUN := $(TOOLCHAIN) run --

.DEFAULT_GOAL := help
.PHONY: help setup env up measure down matrix report speed validate faults data doctor check test test-all lint lock clean-cache

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' Makefile

setup: ## Build or find all that is needed (STACK=scenario-e: for that stack only)
	@$(TOOLCHAIN) ensure $(if $(STACK),--stack '$(STACK)',--all)

env: ## Print the environment of plain pulumi commands: eval "$(make -s env)"
	@$(TOOLCHAIN) env $(if $(STACK),--stack '$(STACK)',--all)

up: ## Bring up and measure a stack, and show the medians: make up STACK=scenario-e
	@$(TOOLCHAIN) ensure --stack '$(STACK)'
	@$(TOOLCHAIN) run --stack '$(STACK)' --clear '$(STACK)' pulumi up --yes --skip-preview --suppress-outputs --stack '$(STACK)'
	@$(RUN) python -m bench show --stack '$(STACK)'

measure: ## Measure a stack that is up once more
	@$(TOOLCHAIN) ensure --stack '$(STACK)'
	@$(TOOLCHAIN) run --clear '$(STACK)' pulumi up --yes --skip-preview --suppress-outputs --stack '$(STACK)' --replace '**::benchmark'
	@$(RUN) python -m bench show --stack '$(STACK)'

down: ## Destroy a stack, with all that it started, also where its file is gone
	@$(TOOLCHAIN) ensure --down '$(STACK)'
	@$(TOOLCHAIN) run --clear '$(STACK)' pulumi destroy --yes --skip-preview --stack '$(STACK)'

matrix: ## Measure scenarios side by side: make matrix STACKS="scenario-a scenario-e" BRING_UPS=5 OUT=matrix CENSUS=census.json
	@$(TOOLCHAIN) ensure --all
	@$(RUN) python -m bench matrix $(STACKS) $(if $(BRING_UPS),--bring-ups '$(BRING_UPS)') $(if $(ROUNDS),--rounds '$(ROUNDS)') $(if $(PROFILE),--profile '$(PROFILE)') $(if $(SECONDS),--seconds '$(SECONDS)') $(if $(SEED),--seed '$(SEED)') $(if $(CENSUS),--census '$(CENSUS)') $(if $(TIMES),--times '$(TIMES)') $(if $(OUT),--out '$(OUT)') $(if $(KEEP),--keep) $(if $(DOWN),--down)

report: ## One page of what a matrix, stacks or files hold: make report FROM="scenario-a scenario-e" OUT=report
	@$(TOOLCHAIN) ensure --python
	@$(RUN) python -m bench report $(FROM) $(if $(OUT),--out '$(OUT)')

speed: ## Where the time of bringing labs up goes, step by step (STACKS="scenario-a scenario-e")
	@$(TOOLCHAIN) ensure --all
	@$(RUN) python -m tests.speed.bring_up $(or $(STACKS),$(patsubst Pulumi.%.yaml,%,$(wildcard Pulumi.scenario-*.yaml)))

validate: ## Test the measurement itself, in labs, in 30 minutes (OUT=validation BRING_UPS=15 MINUTES=30 ALLOW=quiet-machine)
	@$(TOOLCHAIN) ensure --all
	@$(RUN) python -m bench validate $(if $(OUT),--out '$(OUT)') $(if $(MINUTES),--minutes '$(MINUTES)') $(if $(BRING_UPS),--bring-ups '$(BRING_UPS)') $(foreach name,$(ALLOW),--allow $(name))

faults: ## Break set-ups, labs, measurements and reports on purpose, and write what follows into docs/faults.md (PARTS="report")
	@$(TOOLCHAIN) ensure --all --dev
	@$(RUN) python -m tests.faults $(PARTS)

data: ## Make the data, tables and figures of docs/ anew (PARTS="matrix validation"; hours in all)
	@$(TOOLCHAIN) ensure --every --dev
	@$(RUN) python -m tests.documents $(PARTS)

doctor: ## Say whether this machine can run the lab; STACK=scenario-e TARGET=eks: what a stack has there, and costs
ifdef STACK
	@$(TOOLCHAIN) ensure --python
	@$(RUN) python -m bench doctor --stack '$(STACK)' $(if $(TARGET),--target '$(TARGET)')
else
	@$(TOOLCHAIN) doctor
endif

check: ## The inner loop: style, types, import contracts, pure tests; no lab, no engine
	@$(TOOLCHAIN) ensure --python --dev
	@$(RUN) python -m tests.suite check

test: ## Set up everything, then check and test it; prints the time of each part
	@$(TOOLCHAIN) ensure --all --dev
	@$(RUN) python -m tests.suite test

test-all: ## As test, and what takes longer: make validate, all versions, the real provider, much fuzzing
	@$(TOOLCHAIN) ensure --every --dev
	@$(RUN) python -m tests.suite all

lint: ## Format the code and check it
	@$(TOOLCHAIN) ensure --python --dev
	@$(RUN) ruff format .
	@$(RUN) ruff check --fix .
	@$(RUN) mypy --strict .

lock: ## Pin what the .in files need, with all that it brings along and the digest of every file
	@$(TOOLCHAIN) ensure --python --dev
	@set -e; for file in requirements requirements-dev tools/uv tools/go; do \
	  $(RUN) python -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --custom-compile-command 'make lock' $$file.in -o $$file.txt; \
	done

clean-cache: ## Remove everything that was built
	@$(TOOLCHAIN) clean-cache
