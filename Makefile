# The few commands people need. `make` alone lists them.

PREFIX ?= /usr/local
CARGO ?= cargo
TARGET_DIR ?= $(or $(CARGO_TARGET_DIR),target)
TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
comma := ,
BIN := $(TARGET_DIR)/$(TRIPLE)/release
BASH_COMPLETIONS := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH_COMPLETIONS := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH_COMPLETIONS := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d

.PHONY: help build run test test-vm bench bench-docs bench-report bench-icount text-order docs install uninstall

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-13s %s\n' "$$name" "$$text"; done

build: ## Build the three programs
	$(CARGO) build --release --locked

run: build ## Build, and boot the built-in image "hello" (as root or as an ordinary user)
	@$(BIN)/pipkin run --rm --init hello

test: ## Everything that is checked: format, lints, unit tests, containers on both cgroup layouts, with systemd, in an emulated machine
	@CARGO="$(CARGO)" tests/run.sh

test-vm: ## The last part of it alone: pure cgroup v2 with all controllers, systemd, AppArmor, in an emulated machine
	@CARGO="$(CARGO)" tests/vm/run.sh

# Where crun and youki are, if they are not installed: USR=DIR and PEERS=DIR.
BENCH_PEERS = $(if $(USR),--usr "$(USR)") $(if $(PEERS),--peers "$(PEERS)")
BENCH = PIPKIN_BIN_DIR="$(BIN)" $(CARGO) bench --locked --profile dev --bench

bench: ## Boot, exec, loading of images, the init: side by side with other runtimes and with the kernel's own price (root)
	benches/peers.sh
	$(CARGO) build --release --locked --workspace
	$(BENCH) boot -- $(BENCH_PEERS)
	$(BENCH) exec -- $(BENCH_PEERS)
	$(BENCH) unpack
	$(BENCH) init

bench-docs: ## Put figures and chart anew into docs/benchmarks.md: a quarter of an hour on a quiet machine (root)
	benches/peers.sh
	$(CARGO) build --release --locked --workspace
	mkdir -p "$(TARGET_DIR)/bench"
	$(BENCH) boot -- --rounds 150 $(BENCH_PEERS) --json "$(abspath $(TARGET_DIR))/bench/boot.json"
	$(BENCH) exec -- --rounds 200 $(BENCH_PEERS) --json "$(abspath $(TARGET_DIR))/bench/exec.json"
	$(BENCH) unpack -- --rounds 3 --json "$(abspath $(TARGET_DIR))/bench/unpack.json"
	@$(MAKE) --no-print-directory bench-report

bench-report: ## The same from the figures of the last `make bench-docs`, without measuring
	$(BENCH) boot -- --from $(subst $() ,$(comma),$(foreach bench,boot exec unpack,$(abspath $(TARGET_DIR))/bench/$(bench).json)) \
		--markdown "$(CURDIR)/docs/benchmarks.md" --svg "$(CURDIR)/docs/benchmarks.svg"

bench-icount: ## Instructions of a boot, in an emulated machine: the same however busy this one is (root)
	$(CARGO) build --release --locked --workspace
	PIPKIN_BIN_DIR="$(BIN)" $(CARGO) bench --locked --profile dev --bench icount

# Where the linker's map goes; the program beside it has its symbols.
SYMBOLS = $(abspath $(TARGET_DIR))/symbols

text-order: ## Put the functions of a boot beside each other anew: runtime/text.ld, after large changes (root)
	CARGO_PROFILE_RELEASE_STRIP=none $(CARGO) rustc --release --locked -p pipkin-runtime --bin pipkin-runtime \
		--target-dir "$(SYMBOLS)" -- -C link-arg=-Wl,-Map="$(SYMBOLS)/map"
	$(CARGO) build --locked --workspace
	$(CARGO) bench --locked --profile dev --bench text_order -- "$(SYMBOLS)/$(TRIPLE)/release/pipkin-runtime" "$(SYMBOLS)/map" \
		"$(CURDIR)/runtime/text.ld"

docs: ## Make the man pages and shell completions anew
	$(CARGO) build --locked -p pipkin-init
	PIPKIN_UPDATE_DOCS=1 $(CARGO) test --locked --test documentation man_pages

install: build ## Install to PREFIX (/usr/local), below DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/pipkin
	install -m 755 $(BIN)/pipkin $(BIN)/pipkin-runtime $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(BIN)/pipkin-init $(BIN)/pipkin-hello $(DESTDIR)$(PREFIX)/libexec/pipkin/
	install -d $(DESTDIR)$(PREFIX)/share/man/man1 $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 docs/man/*.1 $(DESTDIR)$(PREFIX)/share/man/man1/
	install -m 644 docs/man/*.8 $(DESTDIR)$(PREFIX)/share/man/man8/
	install -d $(BASH_COMPLETIONS) $(ZSH_COMPLETIONS) $(FISH_COMPLETIONS)
	for program in pipkin pipkin-runtime pipkin-init; do \
	    install -m 644 docs/completions/$$program.bash $(BASH_COMPLETIONS)/$$program; \
	    install -m 644 docs/completions/_$$program $(ZSH_COMPLETIONS)/; \
	    install -m 644 docs/completions/$$program.fish $(FISH_COMPLETIONS)/; \
	done

uninstall: ## Remove what `make install` installed
	rm -f $(DESTDIR)$(PREFIX)/bin/pipkin $(DESTDIR)$(PREFIX)/bin/pipkin-runtime
	rm -rf $(DESTDIR)$(PREFIX)/libexec/pipkin
	for page in docs/man/*.1; do rm -f $(DESTDIR)$(PREFIX)/share/man/man1/$${page##*/}; done
	for page in docs/man/*.8; do rm -f $(DESTDIR)$(PREFIX)/share/man/man8/$${page##*/}; done
	for program in pipkin pipkin-runtime pipkin-init; do \
	    rm -f $(BASH_COMPLETIONS)/$$program $(ZSH_COMPLETIONS)/_$$program $(FISH_COMPLETIONS)/$$program.fish; \
	done
