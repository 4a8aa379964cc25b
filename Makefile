# The few commands people need. `make` alone lists them.

PREFIX ?= /usr/local
CARGO ?= cargo
TARGET_DIR ?= $(or $(CARGO_TARGET_DIR),target)
TRIPLE := $(shell rustc -vV 2>/dev/null | sed -n 's/^host: //p')
BIN := $(TARGET_DIR)/$(TRIPLE)/release

.PHONY: help build run test test-vm bench install uninstall

help: ## List these commands
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/\1|\2/p' $(MAKEFILE_LIST) | while IFS='|' read -r name text; do printf '  make %-10s %s\n' "$$name" "$$text"; done

build: ## Build the three programs
	$(CARGO) build --release --locked

run: build ## Build, and boot the built-in image "hello" (as root or as an ordinary user)
	@$(BIN)/pipkin run --rm --init hello

test: ## Everything that is checked: format, lints, unit tests, containers on both cgroup layouts
	@CARGO="$(CARGO)" tests/run.sh

test-vm: ## What needs more than this machine: pure cgroup v2 with all controllers, systemd, AppArmor; in an emulated one
	@CARGO="$(CARGO)" tests/vm/run.sh

bench: ## Boot, exec, loading of images, the init: side by side with other runtimes and with the kernel's own price (root)
	$(CARGO) build --release --locked --workspace
	for bench in boot exec init unpack; do \
		PIPKIN_BIN_DIR="$(BIN)" $(CARGO) bench --locked --profile dev --bench $$bench || exit; \
	done

install: build ## Install to PREFIX (/usr/local), below DESTDIR
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/libexec/pipkin
	install -m 755 $(BIN)/pipkin $(BIN)/pipkin-runtime $(DESTDIR)$(PREFIX)/bin/
	install -m 755 $(BIN)/pipkin-init $(BIN)/pipkin-hello $(DESTDIR)$(PREFIX)/libexec/pipkin/

uninstall: ## Remove what `make install` installed
	rm -f $(DESTDIR)$(PREFIX)/bin/pipkin $(DESTDIR)$(PREFIX)/bin/pipkin-runtime
	rm -rf $(DESTDIR)$(PREFIX)/libexec/pipkin
