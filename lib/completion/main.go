// Command completion writes the tables of options in contrib/completions. Run it with
// "go generate ./lib/completion" after a change of options.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/jessevdk/go-flags"

	"zab/lib/cli"
	"zab/lib/digest"
	"zab/lib/list"
	"zab/lib/plan"
	"zab/lib/selection"
	"zab/lib/snap"
	"zab/lib/status"
	"zab/lib/thin"
	"zab/lib/verify"
	"zab/lib/xfer"
	"zab/lib/zab"
)

//go:generate go run .

// dir has the completions, as seen from the directory of this file.
const dir = "../../contrib/completions"

// programs are all programs, in the order of the pipeline.
var programs = []func() cli.Program{
	zab.Program, selection.Program, list.Program, snap.Program, plan.Program, xfer.Program, thin.Program,
	verify.Program, digest.Program, status.Program,
}

// tables are the functions that write the table of one program, by the file of a shell.
var tables = map[string]func(program string, options []*flags.Option) string{
	"zab.bash": bashTable, "_zab": zshTable, "zab.fish": fishTable,
}

func main() {
	for file := range tables {
		path := filepath.Join(dir, file)
		have, err := os.ReadFile(path)
		want := have
		if err == nil {
			want, err = update(file, have)
		}
		if err == nil && !bytes.Equal(want, have) {
			err = os.WriteFile(path, want, 0o666)
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
}

var (
	begin = regexp.MustCompile(`(?m)^[ \t]*# options: begin.*\n`)
	end   = regexp.MustCompile(`(?m)^[ \t]*# options: end\n`)
)

// update returns the text of a completion with the tables of the options that the
// programs have now.
func update(file string, have []byte) ([]byte, error) {
	from, to := begin.FindIndex(have), end.FindIndex(have)
	if from == nil || to == nil {
		return nil, fmt.Errorf("%s has no table of options", file)
	}
	want := bytes.NewBuffer(slices.Clone(have[:from[1]]))
	for _, program := range programs {
		p := program()
		var options []*flags.Option
		cli.EachOption(p.Parser(), func(o *flags.Option) {
			if !o.Hidden {
				options = append(options, o)
			}
		})
		want.WriteString(tables[file](p.Name, options))
	}
	want.Write(have[to[0]:])
	return want.Bytes(), nil
}

func takesValue(o *flags.Option) bool { return o.ValueName != "" && !o.OptionalArgument }

func bashTable(name string, list []*flags.Option) string {
	var opts []string
	for _, o := range list {
		s := "--" + o.LongName
		if takesValue(o) {
			s += "="
		}
		opts = append(opts, s)
	}
	slices.Sort(opts)
	return fmt.Sprintf("\t%s) echo '%s' ;;\n", name, strings.Join(opts, " "))
}

// compressTypes returns the types that the description of --compress lists.
func compressTypes(o *flags.Option) []string {
	_, s, _ := strings.Cut(o.Description, ": ")
	return strings.Split(strings.ReplaceAll(s, " (default)", ""), ", ")
}

func repeatable(o *flags.Option) bool { return reflect.TypeOf(o.Value()).Kind() == reflect.Slice }

func zshTable(name string, list []*flags.Option) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\t%s)\n\t\toptions=(\n", name)
	for _, o := range list {
		help := strings.NewReplacer(`[`, `\[`, `]`, `\]`, `:`, `\:`, `'`, `'\''`).Replace(o.Description)
		value := ""
		if o.ValueName != "" {
			action := " "
			switch o.ValueName {
			case "USER@HOST":
				action = "_hosts"
			case "FILE":
				action = "_files"
			case "DATASET":
				action = "_zab_datasets"
			case "TYPE":
				action = "(" + strings.Join(compressTypes(o), " ") + ")"
			}
			value = ":" + strings.ToLower(o.ValueName) + ":" + action
		}
		equal := ""
		switch {
		case o.OptionalArgument:
			equal, value = "=-", ":"+value
		case value != "":
			equal = "="
		}
		once := "*"
		if !repeatable(o) {
			once = ""
		}
		if o.ShortName != 0 {
			plus := ""
			if value != "" {
				plus = "+"
			}
			fmt.Fprintf(&b, "\t\t\t'(-%c --%s)'{-%c%s,--%s%s}'[%s]%s'\n", o.ShortName, o.LongName, o.ShortName, plus, o.LongName, equal, help, value)
			continue
		}
		fmt.Fprintf(&b, "\t\t\t'%s--%s%s[%s]%s'\n", once, o.LongName, equal, help, value)
	}
	b.WriteString("\t\t) ;;\n")
	return b.String()
}

func fishTable(name string, list []*flags.Option) string {
	var b strings.Builder
	for _, o := range list {
		fmt.Fprintf(&b, "complete -c %s", name)
		if o.ShortName != 0 {
			fmt.Fprintf(&b, " -s %c", o.ShortName)
		}
		fmt.Fprintf(&b, " -l %s", o.LongName)
		switch o.ValueName {
		case "":
		case "USER@HOST":
			b.WriteString(" -xa '(__fish_complete_user_at_hosts)'")
		case "FILE":
			b.WriteString(" -rF")
		case "DATASET":
			b.WriteString(" -xa '(__zab_datasets)'")
		case "TYPE":
			fmt.Fprintf(&b, " -xa '%s'", strings.Join(compressTypes(o), " "))
		default:
			b.WriteString(" -x")
		}
		fmt.Fprintf(&b, " -d '%s'\n", strings.ReplaceAll(o.Description, "'", `\'`))
	}
	return b.String()
}
