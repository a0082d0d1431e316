package plan

import (
	"fmt"
	"slices"
	"strings"

	"zab/lib/record"
	"zab/lib/zfs"
)

// This file has all that a plan decides about encryption (promise P10): which data is
// sent raw, how it will be stored, which keys this needs, and which combinations are
// refused.
//
// How zfs behaves, tried on 2.1.11 and 2.3.2 with the same outcome:
//   - Raw data needs no key on either side. Its copy is an encryption root of
//     its own with the master key of the source (the property keyguid).
//   - The properties of a plain dataset are sent with it, encryption=off among
//     them: without -x encryption its copy is plain below any parent.
//   - A decrypted stream has no properties, so its copy has the encryption of
//     the parent, whose key must be loaded for as long as it receives.
//   - A full raw stream overwrites nothing (-F), and nothing that is encrypted
//     is overwritten.

// raw reports whether the record's data is sent raw, encrypted as it is.
func (p *planner) raw(r *record.Record) bool { return r.Encrypted() && !p.o.Decrypt }

// sendsRaw returns the flags of zfs send that depend on the encryption. The properties
// of an encrypted dataset can only be sent with raw data.
func (p *planner) sendsRaw(r *record.Record) []string {
	switch {
	case p.raw(r):
		return []string{"-w", "-p"}
	case r.Encrypted():
		return nil
	}
	return []string{"-p"}
}

// storage is how a dataset of the target is stored.
type storage struct {
	encrypted bool
	root      string // its encryption root
	locked    bool   // the key of root is not loaded
}

func storageOf(f *record.Facts) storage {
	return storage{f.Encrypted(), f.EncryptionRoot, f.Encrypted() && f.KeyStatus == "unavailable"}
}

// currentStorage returns how the copy of r is stored, or will be.
func (p *planner) currentStorage(r *record.Record) storage {
	t := r.Target
	gone := len(t.Snapshots) == 0 && t.ResumeToken != "" && t.Resume == nil // a first receive that is aborted
	if t.Exists && t.Kind != "" && !gone {
		return storageOf(&t.Facts)
	}
	return p.initialStorage(r)
}

// initialStorage returns how a new copy of r will be stored.
func (p *planner) initialStorage(r *record.Record) storage {
	own := storage{encrypted: true, root: r.Target.Name}
	cipher, given := p.given("encryption")
	_, key := p.given("keyformat")
	switch {
	case p.raw(r):
		own.locked = true
		return own
	case given && cipher == "off":
		return storage{}
	case given && key:
		// Even then zfs needs the key of the dataset above.
		if above := p.inheritedStorage(r.Target.Name); above.locked {
			return above
		}
		return own
	case !given && !r.Encrypted() && !p.inherits():
		return storage{}
	}
	return p.inheritedStorage(r.Target.Name)
}

// inherits reports whether the target's parent decides the encryption of a plain
// dataset.
func (p *planner) inherits() bool {
	return p.o.Encrypt || slices.Contains(p.o.FilterProperties, "encryption")
}

// given returns the value that --set-properties has for a property.
func (p *planner) given(property string) (value string, ok bool) {
	for _, pv := range p.o.SetProperties {
		if name, v, _ := strings.Cut(pv, "="); name == property {
			value, ok = v, true
		}
	}
	return value, ok
}

// inheritedStorage returns how the nearest dataset above name is stored: an existing one,
// or one that another record of this run brings.
func (p *planner) inheritedStorage(name string) storage {
	for i := strings.LastIndexByte(name, '/'); i > 0; i = strings.LastIndexByte(name[:i], '/') {
		if r := p.inv.expected[name[:i]]; r != nil {
			return p.currentStorage(r)
		}
		if r := p.inv.datasets[name[:i]]; r != nil {
			return storageOf(&r.Facts)
		}
	}
	return storage{}
}

// begunOtherwise reports whether the interrupted first receive of a record would end in
// another encryption than the options now ask for.
func (p *planner) begunOtherwise(r *record.Record) bool {
	return !p.raw(r) && r.Target.Kind != "" && r.Target.Encrypted() != p.initialStorage(r).encrypted
}

// overwrites reports whether zfs can overwrite the target with a full stream.
func (p *planner) overwrites(r *record.Record) bool { return !p.raw(r) && !r.Target.Encrypted() }

func setsKey(pv string) bool {
	name, _, _ := strings.Cut(pv, "=")
	return zfs.KeyParameter(name)
}

// encrypting completes exclude and set: with --encrypt it excludes the properties that
// the target's parent decides, and for a raw stream it removes those that zfs refuses.
func (p *planner) encrypting(r *record.Record, exclude, set []string) ([]string, []string) {
	if p.raw(r) {
		return slices.DeleteFunc(exclude, zfs.KeyParameter), slices.DeleteFunc(set, setsKey)
	}
	if p.o.Encrypt {
		for _, name := range []string{"keylocation", "pbkdf2iters", "keyformat", "encryption"} {
			// A property given with --set-properties must not be excluded, and zfs
			// takes no property twice.
			if _, given := p.given(name); !given && !slices.Contains(exclude, name) {
				exclude = append(exclude, name)
			}
		}
	}
	return exclude, set
}

// dropCreateOnly removes from s.Set the properties that only the stream that makes a
// dataset may set. A raw stream sets none of these but keylocation, which it may always set.
func dropCreateOnly(s *record.Step, raw bool) {
	if !raw && (s.From != "" || s.Token != "") {
		s.Set = zfs.WithoutKey(s.Set)
	}
}

// rawMismatch returns the conflict of a record that would mix raw and non-raw streams in
// one copy. zfs takes some of the mixtures, and then refuses all later raw streams, or the
// copy can no longer be decrypted (OpenZFS issue 12614).
func rawMismatch(r *record.Record, raw bool) *record.Conflict {
	t := r.Target
	if t.Kind == "" || !r.Encrypted() {
		return nil
	}
	conflict := func(message string, remedies ...string) *record.Conflict {
		return &record.Conflict{Kind: record.ConflictEncryptionMismatch, Message: message, Remedies: append(remedies, startAnew(t.Name))}
	}
	// A clone shares the key of its origin, which is the encryption root of both.
	own := t.EncryptionRoot == "" || t.EncryptionRoot == t.Name || t.Origin != ""
	// If both master keys are known, they decide: a master key is sent with raw data
	// only and survives every change of the key that wraps it.
	known := r.KeyGUID != "" && t.KeyGUID != ""
	wasRaw := own
	if known {
		wasRaw = r.KeyGUID == t.KeyGUID
	}
	switch {
	case raw && !t.Encrypted():
		return conflict(fmt.Sprintf("'%s' is encrypted and would be sent raw, but its copy is not encrypted: raw and other streams do not go together", r.Name),
			"--decrypt to go on without encryption")
	case raw && wasRaw && !own:
		return conflict(fmt.Sprintf("the copy of '%s' was received raw, but has its key from '%s' now, as after 'zfs change-key -i': with the next raw stream it could not be decrypted any more", r.Name, t.EncryptionRoot),
			fmt.Sprintf("make it an encryption root again with 'zfs change-key -o keyformat=passphrase %s' while its key is loaded; the key of the source comes back with the next stream", zfs.Quote(t.Name)))
	case raw && !wasRaw && known && own:
		return conflict(fmt.Sprintf("'%s' would be sent raw, but its copy was not received raw and has a key of its own", r.Name),
			"--decrypt to go on as it was begun")
	case raw && !wasRaw && known:
		return conflict(fmt.Sprintf("'%s' would be sent raw, but its copy was not received raw: it has its key from '%s'", r.Name, t.EncryptionRoot),
			"--decrypt with --encrypt to go on encrypting it there")
	case raw && !wasRaw:
		return conflict(fmt.Sprintf("'%s' would be sent raw, but its copy has its key from '%s': it was not received raw, or its key was changed since", r.Name, t.EncryptionRoot),
			"--decrypt with --encrypt to go on encrypting it there, if that is how it was received")
	case !raw && t.Encrypted() && wasRaw:
		return conflict(fmt.Sprintf("'%s' would be sent decrypted, but its copy was received raw: raw and other streams do not go together", r.Name),
			"go on without --decrypt")
	}
	return nil
}

func startAnew(name string) string {
	return fmt.Sprintf("keep the copy and start anew: 'zfs rename %s NEWNAME'", zfs.Quote(name))
}

// notEncrypted returns the conflict of a record that the options ask to encrypt and
// whose copy would not be encrypted. An existing copy goes on as it is, unless the
// source is encrypted.
func (p *planner) notEncrypted(d *draft) *record.Conflict {
	r, t := d.r, d.r.Target
	cipher, given := p.given("encryption")
	asked := p.o.Encrypt && !given || given && cipher != "off"
	if !asked || p.raw(r) || p.currentStorage(r).encrypted || d.has && !r.Encrypted() {
		return nil
	}
	c := &record.Conflict{Kind: record.ConflictTargetNotEncrypted,
		Message: fmt.Sprintf("'%s' is to be encrypted on the target, but nothing above '%s' is encrypted", r.Name, t.Name)}
	switch {
	case t.Exists && t.Kind != "" && (len(t.Snapshots) > 0 || t.ResumeToken == ""):
		c.Message = fmt.Sprintf("'%s' is to be encrypted on the target, but its copy is not encrypted", r.Name)
		c.Remedies = []string{"leave out --encrypt to go on without encryption", startAnew(t.Name)}
	case given:
		c.Remedies = []string{"--set-properties with keyformat and keylocation too, for a key of its own"}
	default:
		c.Remedies = []string{
			"choose a target that is encrypted: 'zfs create -o encryption=on -o keyformat=passphrase NEWTARGET'",
			"leave out --encrypt to store it without encryption",
		}
	}
	return c
}

// locked returns the error of a key that is needed and not loaded, on either side; nil
// if there is none. steps are those that make the target ready.
func (p *planner) locked(d *draft, steps []record.Step) *record.Error {
	r, t := d.r, d.r.Target
	missing := func(message, host, root, or string) *record.Error {
		hint := fmt.Sprintf("load the key with 'zfs load-key %s'", zfs.Quote(root))
		if host != "" {
			hint += " on " + host
		}
		e := p.failure(record.KindKey, fmt.Sprintf("cannot back up '%s' to '%s': %s", r.Name, t.Name, message), hint+or)
		return &e
	}
	if r.Encrypted() && !p.raw(r) && r.KeyStatus == "unavailable" {
		root, or := r.EncryptionRoot, ""
		if root == "" {
			root = r.Name
		}
		if !t.Exists {
			or = "; or leave out --decrypt to send it raw, which needs no key"
		}
		return missing(fmt.Sprintf("it cannot be decrypted, for the key of '%s' is not loaded", root), r.Host, root, or)
	}
	for i := range steps {
		if above := p.inheritedStorage(steps[i].Dataset); steps[i].Do == record.DoCreateParent && above.locked {
			return missing(fmt.Sprintf("the parent '%s' cannot be created, for the key of '%s' is not loaded", steps[i].Dataset, above.root), t.Host, above.root,
				fmt.Sprintf("; or create it without: 'zfs create -o canmount=off -o encryption=off %s'", zfs.Quote(steps[i].Dataset)))
		}
	}
	if s := p.currentStorage(r); !p.raw(r) && s.locked {
		return missing(fmt.Sprintf("it is encrypted there with the key of '%s', which is not loaded", s.root), t.Host, s.root, "")
	}
	return nil
}

// encryptionWarnings returns warnings about keys, and about options that do not change
// the encryption of the copy.
func (p *planner) encryptionWarnings(d *draft) []string {
	r, t := d.r, d.r.Target
	var out []string
	if p.raw(r) {
		if !d.has && r.EncryptionRoot != "" && r.EncryptionRoot != r.Name && p.inv.sources != nil && !p.inv.sources[r.EncryptionRoot] {
			out = append(out, fmt.Sprintf("'%s' has its key from '%s', which is %s: the copy will be an encryption root of its own", r.Name, r.EncryptionRoot, p.elsewhere()))
		}
		var left []string
		for _, name := range p.o.FilterProperties {
			if zfs.KeyParameter(name) {
				left = append(left, name)
			}
		}
		for _, pv := range p.o.SetProperties {
			if setsKey(pv) {
				name, _, _ := strings.Cut(pv, "=")
				left = append(left, name)
			}
		}
		if len(left) > 0 {
			out = append(out, fmt.Sprintf("'%s' is sent raw, with its encryption as it is: what was asked of the target's %s does not apply", r.Name, strings.Join(left, ", ")))
		}
		return out
	}
	stored := p.currentStorage(r)
	_, given := p.given("encryption")
	switch {
	case given || stored.encrypted:
	case p.o.Encrypt:
		out = append(out, fmt.Sprintf("--encrypt was given, but the copy '%s' was begun without encryption and goes on without", t.Name))
	case !d.has && p.inheritedStorage(t.Name).encrypted:
		out = append(out, fmt.Sprintf("'%s' is not encrypted, and neither will be its copy, though what is above that is; --encrypt has it encrypted there", r.Name))
	}
	return out
}
