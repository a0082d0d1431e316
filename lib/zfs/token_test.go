package zfs

import (
	"reflect"
	"testing"

	"zab/lib/record"
)

// Tokens that zfs 2.3.2 on Linux gave, and what `zfs send -nvt` says of them.
const (
	tokenFull = "1-fdef83fa8-f0-789c636064000310a500c4ec50360710e72765a526973030a8409460caa7a515a79630c001489e0d493ea9b224b518483ba462d75f929f5e9a99c2c0207556d9416fe2941f1a48f29c60f9bcc45ca0de8ab462fd24856487624388391250fd3077a7e626a5a6e46783cde746124fcecf2d284a2d2e064ac1010024e71c41"
)

func TestDecodeToken(t *testing.T) {
	got, err := DecodeToken(tokenFull)
	if err != nil {
		t.Fatal(err)
	}
	want := &record.Resume{
		Token:  tokenFull,
		ToName: "xfs/b c@s1",
		ToGUID: "17912101245789916442", // 0xf894912e4023cd1a
		Bytes:  record.Ptr(int64(0x6540)),
		Flags:  []string{"embed", "compress"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("%+v, bytes %d", got, *got.Bytes)
	}
}

func TestDecodeTokenRefuses(t *testing.T) {
	for _, bad := range []string{
		"", "1", "1-2-3", "2" + tokenFull[1:], "1-0" + tokenFull[11:],
		tokenFull[:len(tokenFull)-2], "1-fdef83fa8-zz-789c",
	} {
		if r, err := DecodeToken(bad); err == nil {
			t.Errorf("%q was taken for %+v", bad, r)
		}
	}
}

func FuzzNvlist(f *testing.F) {
	f.Add([]byte("\x00\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00"))
	f.Add([]byte("\x01\x01\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x20"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_ = readNvlist(b, func(name string, typ uint32, v []byte, text string) {
			setToken(&record.Resume{}, name, typ, v, text)
		})
	})
}
