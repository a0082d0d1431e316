package plan

import (
	"slices"
	"strings"
	"testing"

	"zab/lib/record"
)

// TestEncryptionMatrix runs the whole matrix (P10): the encryption of the source, the
// options, the encryption of the dataset above on the target; and for each of these the
// first stream, an incremental one, and both resumed. A cell has the flags of the
// stream, with x if the target's parent is to decide the encryption; or the kind of the
// conflict or error.
func TestEncryptionMatrix(t *testing.T) {
	const none, decrypt, encrypt, both = "", "--decrypt", "--encrypt", "--decrypt --encrypt"
	const plain, raw, clear = "-L -p", "-L -w -p", "-L"
	const anew, anewPlain = "-L x", "-L -p x"
	const refused, key = "target-not-encrypted", "key"
	for _, c := range []struct {
		source, args string
		// below a target that is plain, encrypted, encrypted without its key loaded
		plain, encrypted, locked string
	}{
		{"plain", none, plain, plain, plain},
		{"plain", decrypt, plain, plain, plain},
		{"plain", encrypt, refused, anewPlain, key},
		{"plain", both, refused, anewPlain, key},
		{"loaded", none, raw, raw, raw},
		{"loaded", decrypt, clear, "-L", key},
		{"loaded", encrypt, raw, raw, raw},
		{"loaded", both, refused, anew, key},
		{"unloaded", none, raw, raw, raw},
		{"unloaded", decrypt, key, key, key},
		{"unloaded", encrypt, raw, raw, raw},
		{"unloaded", both, refused, key, key},
	} {
		for parent, want := range map[string]string{"plain": c.plain, "encrypted": c.encrypted, "locked": c.locked} {
			for _, kind := range []string{"filesystem", "volume"} {
				for _, root := range []string{"tank/a", "tank"} {
					for _, transfer := range []string{"first", "first resumed", "incremental", "incremental resumed"} {
						cell(t, strings.Join([]string{kind, c.source, "root " + root, c.args, "to " + parent, transfer}, ", "),
							kind, c.source, root, c.args, parent, transfer, want)
					}
				}
			}
		}
	}
}

func cell(t *testing.T, what, kind, state, root, args, parent, transfer, want string) {
	src := source("tank/a", "b-1 b-2")
	src.Kind = kind
	if state != "plain" {
		src.Encryption, src.EncryptionRoot, src.KeyGUID = "aes-256-gcm", root, "17"
		src.KeyStatus = map[string]string{"loaded": "available", "unloaded": "unavailable"}[state]
	}
	raw := state != "plain" && !strings.Contains(args, "--decrypt")
	above := target("backup", "")
	if parent != "plain" {
		above.Encryption, above.EncryptionRoot, above.KeyGUID, above.KeyStatus = "aes-256-gcm", "backup", "18", "available"
		if parent == "locked" {
			above.KeyStatus = "unavailable"
		}
	}
	all := []*record.Record{above, with(target("backup/tank", ""), func(r *record.Record) {
		r.Encryption, r.EncryptionRoot, r.KeyGUID, r.KeyStatus = above.Encryption, above.EncryptionRoot, above.KeyGUID, above.KeyStatus
	})}
	if transfer != "first" {
		// The copy as the same command would have begun it.
		has := "b-1"
		if transfer == "first resumed" {
			has = ""
		}
		copied := target("backup/tank/a", has)
		copied.Kind = kind
		switch {
		case raw:
			copied.Encryption, copied.EncryptionRoot, copied.KeyGUID, copied.KeyStatus = "aes-256-gcm", copied.Name, "17", "unavailable"
		case state != "plain" || strings.Contains(args, "--encrypt"):
			copied.Encryption, copied.EncryptionRoot, copied.KeyStatus = above.Encryption, above.EncryptionRoot, above.KeyStatus
			if above.Encrypted() {
				copied.KeyGUID = "19"
			}
		}
		var flags []string
		if raw {
			flags = []string{"compressok", "rawok"}
		}
		switch transfer {
		case "first resumed":
			copied.ResumeToken = token("tank/a@b-1", id("b-1"), "", flags...)
		case "incremental resumed":
			copied.ResumeToken = token("tank/a@b-2", id("b-2"), id("b-1"), flags...)
		}
		all = append(all, copied)
	}
	r := plan(t, "--no-thinning --no-holds "+args, all, src).of(t, "tank/a")
	if strings.HasPrefix(transfer, "incremental") && state == "plain" && want == "target-not-encrypted" {
		// A copy that always was unencrypted goes on, with a warning.
		if r.Error != nil || len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "without encryption") {
			t.Errorf("%s: %v, warnings %q", what, r.Error, r.Warnings)
		}
		want = "-L -p x"
	}
	got := "nothing"
	switch {
	case r.Conflict != nil:
		got = string(r.Conflict.Kind)
	case r.Error != nil:
		got = string(r.Error.Kind)
	}
	if r.Error != nil {
		if got != want || len(r.Steps) > 0 || r.Error.Hint == "" {
			t.Errorf("%s: %s, want %s; steps %s, hint %q, %s", what, got, want, text(r.Steps), r.Error.Hint, r.Error.Message)
		}
		if got == "key" && !strings.Contains(r.Error.Hint, "zfs load-key ") {
			t.Errorf("%s: the hint is %q", what, r.Error.Hint)
		}
		return
	}
	if len(r.Steps) == 0 {
		t.Errorf("%s: no steps", what)
	}
	for _, s := range r.Steps {
		if s.IfHeld {
			continue
		}
		if s.Do != record.DoReceive {
			t.Errorf("%s: %s", what, text(r.Steps))
			continue
		}
		flags := strings.Join(s.Flags, " ")
		if strings.Join(slices.DeleteFunc(s.Exclude, shares), " ") == "keylocation pbkdf2iters keyformat encryption" {
			flags += " x"
		}
		if s.Token != "" {
			flags = strings.TrimSuffix(want, " x") + strings.TrimPrefix(flags, strings.TrimSuffix(flags, " x")) // the token has them
		}
		if flags != want {
			t.Errorf("%s: flags %q, want %q", what, flags, want)
		}
	}
	if resumed := strings.HasSuffix(transfer, "resumed"); resumed != (r.Target.Resume != nil) {
		t.Errorf("%s: %s", what, text(r.Steps))
	}
}

// The master key shows how a copy was received, even after a change of the copy's
// wrapping key.
func TestMasterKey(t *testing.T) {
	for _, c := range []struct {
		what, args, root, key string
		kind, remedy          string // "" if the copy goes on
	}{
		{"received raw", "", "backup/tank/a", "17", "", ""},
		{"zfs change-key -i after that", "", "backup", "17", "encryption-mismatch", "zfs change-key -o keyformat=passphrase backup/tank/a"},
		{"and not to be mixed", "--decrypt --encrypt", "backup", "17", "encryption-mismatch", "go on without --decrypt"},
		{"encrypted by the parent", "--decrypt", "backup", "18", "", ""},
		{"and not to be mixed", "", "backup", "18", "encryption-mismatch", "--decrypt with --encrypt"},
		{"a key of its own from --set-properties", "--decrypt", "backup/tank/a", "18", "", ""},
		{"and not to be mixed", "", "backup/tank/a", "18", "encryption-mismatch", "--decrypt to go on as it was begun"},
		{"not known", "", "backup/tank/a", "", "", ""},
		{"not known", "", "backup", "", "encryption-mismatch", "if that is how it was received"},
		{"not known", "--decrypt", "backup", "", "", ""},
		{"not known", "--decrypt", "backup/tank/a", "", "encryption-mismatch", "go on without --decrypt"},
	} {
		src, cp := source("tank/a", "b-1 b-2"), target("backup/tank/a", "b-1")
		src.Encryption, src.EncryptionRoot, src.KeyStatus, src.KeyGUID = "aes-256-gcm", "tank/a", "available", "17"
		cp.Encryption, cp.EncryptionRoot, cp.KeyStatus, cp.KeyGUID = "aes-256-gcm", c.root, "available", c.key
		r := plan(t, c.args, []*record.Record{target("backup", ""), cp}, src).of(t, "tank/a")
		switch {
		case c.kind == "" && (r.Error != nil || len(r.Steps) == 0):
			t.Errorf("%s, %q: %v", c.what, c.args, r.Error)
		case c.kind != "" && (r.Conflict == nil || string(r.Conflict.Kind) != c.kind || !strings.Contains(r.Conflict.Remedies[0], c.remedy)):
			t.Errorf("%s, %q: %+v", c.what, c.args, r.Conflict)
		}
	}
}

// The dataset above a new copy may itself be new: if it is a raw copy, its key is not
// loaded after the receive.
func TestEncryptionBelowWhatComes(t *testing.T) {
	root, open := source("tank/a", "b-1"), source("tank/a/open", "b-1")
	root.Encryption, root.EncryptionRoot, root.KeyStatus = "aes-256-gcm", "tank/a", "available"
	leaf := with(source("tank/a/x/leaf", "b-1"), func(r *record.Record) {
		r.Encryption, r.EncryptionRoot, r.KeyStatus = "aes-256-gcm", "tank/a", "available"
	})
	state := []*record.Record{target("backup", ""), target("backup/tank", "")}
	for _, order := range [][]*record.Record{{root, open, leaf}, {leaf, open, root}} {
		for _, c := range []struct{ args, open, leaf string }{
			{"", "-L -p", "backup/tank/a"}, // no parent can be created in it
			{"--encrypt", "backup/tank/a", "backup/tank/a"},
			{"--decrypt", "-L -p", "-L"},
			{"--decrypt --encrypt", "", ""},
			{"--set-properties=encryption=on,keyformat=raw --decrypt", "-L -p", "-L"},
			{"--set-properties=encryption=on,keyformat=raw", "backup/tank/a", "backup/tank/a"},
			{"--set-properties=encryption=off", "-L -p", "backup/tank/a"},
		} {
			var in []*record.Record
			for _, r := range order {
				n := *r
				in = append(in, &n)
			}
			res := plan(t, "--no-holds "+c.args, state, in...)
			for name, want := range map[string]string{"tank/a/open": c.open, "tank/a/x/leaf": c.leaf} {
				r := res.of(t, name)
				got := ""
				switch {
				case r.Error != nil && r.Error.Kind == "key":
					got = strings.Fields(strings.Split(r.Error.Hint, "'")[1])[2]
				case r.Error == nil:
					got = strings.Join(r.Steps[len(r.Steps)-1].Flags, " ")
				}
				if got != want {
					t.Errorf("%q, %s: %q, want %q: %v", c.args, name, got, want, r.Error)
				}
			}
		}
	}
}

// zfs accepts the properties of the key only in the stream that makes the dataset, and
// never in a raw stream.
func TestKeyProperties(t *testing.T) {
	const set = "--set-properties=encryption=on,keyformat=raw,keylocation=file:///k,x:y=1 --filter-properties=pbkdf2iters,x:z"
	enc := func(r *record.Record) {
		r.Encryption, r.EncryptionRoot, r.KeyStatus = "aes-256-gcm", r.Name, "available"
	}
	state := []*record.Record{target("backup", "")}
	all := "encryption=on keyformat=raw keylocation=file:///k x:y=1"
	for _, c := range []struct {
		what, args        string
		change            func(*record.Record)
		first, next, excl string
		warnings          int
	}{
		{"plain", set, func(*record.Record) {}, all, "x:y=1", "pbkdf2iters x:z", 0},
		{"decrypted", set + " --decrypt", enc, all, "x:y=1", "pbkdf2iters x:z", 0},
		{"with --encrypt none comes twice", set + " --encrypt", func(*record.Record) {}, all, "x:y=1", "pbkdf2iters x:z", 0},
		{"raw", set, enc, "keylocation=file:///k x:y=1", "keylocation=file:///k x:y=1", "x:z", 1},
	} {
		r := plan(t, "--no-holds --no-thinning "+c.args, state, with(source("tank/a", "b-1 b-2"), c.change)).of(t, "tank/a")
		if r.Error != nil {
			t.Errorf("%s: %v", c.what, r.Error)
			continue
		}
		steps := slices.DeleteFunc(r.Steps, func(s record.Step) bool { return s.Do != record.DoReceive })
		if a, b := strings.Join(steps[0].Set, " "), strings.Join(steps[1].Set, " "); a != c.first || b != c.next {
			t.Errorf("%s: sets %q, then %q", c.what, a, b)
		}
		if x := strings.Join(slices.DeleteFunc(steps[0].Exclude, shares), " "); x != c.excl || len(r.Warnings) != c.warnings {
			t.Errorf("%s: excludes %q, warnings %q", c.what, x, r.Warnings)
		}
	}
}

// zfs overwrites nothing with a raw stream, and nothing that is encrypted.
func TestForceAndEncryption(t *testing.T) {
	enc := func(r *record.Record) {
		r.Encryption, r.EncryptionRoot, r.KeyStatus = "aes-256-gcm", r.Name, "available"
	}
	keep := func(*record.Record) {}
	for _, c := range []struct {
		what, args     string
		source, target func(*record.Record)
		goes           bool
	}{
		{"plain on plain", "", keep, keep, true},
		{"decrypted on plain", "--decrypt", enc, keep, true},
		{"raw on plain", "", enc, keep, false},
		{"raw on encrypted", "", enc, enc, false},
		{"plain on encrypted", "", keep, enc, false},
		{"decrypted on encrypted", "--decrypt", enc, enc, false},
	} {
		state := []*record.Record{target("backup", ""), with(target("backup/tank/a", ""), c.target)}
		r := plan(t, "--force "+c.args, state, with(source("tank/a", "b-1"), c.source)).of(t, "tank/a")
		if c.goes != (r.Error == nil) || r.Error != nil && (r.Conflict.Kind != "target-without-snapshots" || strings.Contains(r.Error.Hint, "--force")) {
			t.Errorf("%s: %v", c.what, r.Error)
		}
	}
}

// The copy of an encrypted clone has its key from the copy of the origin and goes on
// all the same, regardless of promotions on the source. A copy that is no clone and has
// its key from elsewhere does not go on.
func TestRawClone(t *testing.T) {
	src := with(source("tank/k", "b-1 b-2"), func(r *record.Record) {
		r.Encryption, r.EncryptionRoot, r.KeyGUID = "aes-256-gcm", "tank", "17"
	})
	for _, c := range []struct {
		origin string
		want   string
	}{{"backup/tank/a@b-0", ""}, {"", "encryption-mismatch"}} {
		state := []*record.Record{target("backup", ""), target("backup/tank", ""), with(target("backup/tank/k", "b-1"), func(r *record.Record) {
			r.Kind, r.Encryption, r.EncryptionRoot, r.KeyGUID, r.Origin = "filesystem", "aes-256-gcm", "backup/tank/a", "17", c.origin
		})}
		r := plan(t, "", state, src).of(t, "tank/k")
		got := ""
		if r.Conflict != nil {
			got = string(r.Conflict.Kind)
		}
		if got != c.want {
			t.Errorf("origin %q: %q, want %q: %v", c.origin, got, c.want, r.Error)
		}
	}
}
