# Any make will do: no conditionals, no shell functions, no pattern rules.

PREFIX = /usr/local
DESTDIR =
BINDIR = $(PREFIX)/bin
MANDIR = $(PREFIX)/share/man
BASHDIR = $(PREFIX)/share/bash-completion/completions
ZSHDIR = $(PREFIX)/share/zsh/site-functions
FISHDIR = $(PREFIX)/share/fish/vendor_completions.d
GO = go
ONLY =

all:
	mkdir -p build/bin
	. contrib/make/env; CGO_ENABLED=0 $(GO) build -trimpath -o build/bin ./cmd/...

# Logic here, behaviour on a real ZFS: on this machine where it has one, else
# in a virtual machine that is built once (about 6 minutes). ONLY=NAME runs that
# script alone, on a machine that stays up.
test:
	contrib/make/tools test
	contrib/make/test "$(ONLY)"

# The same against OpenZFS 2.1 and 2.4.
test-zfs21:
	contrib/make/tools test
	ZAB_VM_ZFS=2.1 contrib/make/test "$(ONLY)"

test-zfs24:
	contrib/make/tools test
	ZAB_VM_ZFS=2.4 contrib/make/test "$(ONLY)"

# Random histories with kills and failures, for ZAB_TORTURE=20m; make test does
# some of it.
torture:
	contrib/make/tools
	contrib/make/torture

# A host that lies in every field, for ZAB_HOSTILE=20000 runs, and what zab does to
# the other one; make test does some of it.
hostile:
	contrib/make/tools
	contrib/make/hostile

# Nightly backups for simulated months in which disks are pulled, pools are full
# and other tools are at work: ZAB_MONTHS=50 of them.
months:
	contrib/make/tools
	contrib/make/months

# Random histories whose copies zab-verify must prove, and changes below ZFS that it must
# find: ZAB_PROOFS=1000 of them.
proofs:
	contrib/make/tools
	contrib/make/proofs

# zab beside plain zfs commands and other tools, on real pools (forty minutes and more
# where that is an emulated machine).
bench:
	contrib/make/tools
	contrib/make/bench

check:
	contrib/make/tools check
	contrib/make/check

demo:
	contrib/make/tools
	contrib/make/demo

vm-shell:
	contrib/make/tools
	contrib/make/payload
	contrib/vm/vm shell --payload build/payload

install: all
	mkdir -p $(DESTDIR)$(BINDIR) $(DESTDIR)$(MANDIR)/man5 $(DESTDIR)$(MANDIR)/man7 $(DESTDIR)$(MANDIR)/man8
	cp build/bin/zab build/bin/zab-* $(DESTDIR)$(BINDIR)/
	cp man/*.5 $(DESTDIR)$(MANDIR)/man5/
	cp man/*.7 $(DESTDIR)$(MANDIR)/man7/
	cp man/*.8 $(DESTDIR)$(MANDIR)/man8/
	mkdir -p $(DESTDIR)$(BASHDIR) $(DESTDIR)$(ZSHDIR) $(DESTDIR)$(FISHDIR)
	cp contrib/completions/zab.bash $(DESTDIR)$(BASHDIR)/zab
	cp contrib/completions/_zab $(DESTDIR)$(ZSHDIR)/
	cp contrib/completions/zab.fish $(DESTDIR)$(FISHDIR)/
	for p in build/bin/zab-*; do p=$${p##*/}; \
		ln -sf zab $(DESTDIR)$(BASHDIR)/$$p; ln -sf zab.fish $(DESTDIR)$(FISHDIR)/$$p.fish; done

clean:
	rm -rf build

.PHONY: all test test-zfs21 test-zfs24 torture hostile months proofs bench check demo vm-shell install clean
