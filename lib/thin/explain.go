package thin

import (
	"errors"
	"fmt"
	"os"
	"time"

	"zab/lib/cli"
	"zab/lib/picture"
	"zab/lib/schedule"
)

// drawing is the value of --picture: how to draw what a schedule keeps.
type drawing string

const (
	drawText drawing = "text"
	drawSVG  drawing = "svg"
)

// Takes reports whether the word after a bare --picture is its value.
func (drawing) Takes(word string) bool { return word == string(drawText) || word == string(drawSVG) }

// UnmarshalFlag parses the value of an option.
func (d *drawing) UnmarshalFlag(text string) error {
	if !d.Takes(text) {
		return fmt.Errorf("%q is none of %s, %s", text, drawText, drawSVG)
	}
	*d = drawing(text)
	return nil
}

// check checks the options that depend on each other.
func (o *Options) check() error {
	switch {
	case o.Picture != "" && o.Explain == nil:
		return errors.New("--picture: which schedule? It draws that of --explain")
	case o.Every != schedule.Age{} && o.Picture == "":
		return errors.New("--every is the time between the snapshots that --picture draws, and needs that option")
	case o.Every != schedule.Age{} && o.Every.Seconds() == 0:
		return fmt.Errorf("--every: %s: expected more than 0", o.Every)
	case o.Picture == "":
		return nil
	}
	if _, err := picture.Prepare(*o.Explain, o.Every); err != nil {
		return fmt.Errorf("--picture: %w", err)
	}
	return nil
}

// explain returns the text that --explain prints, or "" without that option.
func (o *Options) explain() string {
	if o.Explain == nil {
		return ""
	}
	words := "keeps " + o.Explain.Words()
	if o.Picture == "" {
		return words
	}
	sim, err := picture.Prepare(*o.Explain, o.Every)
	if err != nil {
		return err.Error() // check has refused it
	}
	now := time.Now()
	if o.Now.String() != "" {
		now = o.Now.Time
	}
	h := sim.Run(now.Unix())
	if o.Picture == drawSVG {
		return h.SVG()
	}
	return words + "\n" + h.Text(cli.Width(os.Stdout), picture.UTF8(os.Getenv))
}
