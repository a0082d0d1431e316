package status

import (
	"bytes"
	"fmt"
	"io"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"zab/lib/record"
)

// quantity is a number about a dataset that monitors read.
type quantity struct {
	prometheus, help string
	zabbix           string
	of               func(row) *int64 // nil if it is not known
}

// quantities have the units of their names. Times are points in time and not ages, so
// that an alert sees them grow old even when nothing writes them any more.
var quantities = []quantity{
	{"zab_status_copy_timestamp_seconds", "The time whose state the copy has: now, if the source has not changed since the newest common snapshot.", "copy.timestamp", func(r row) *int64 { return r.copyTime() }},
	{"zab_status_common_snapshot_timestamp_seconds", "When the newest common snapshot was made.", "common.timestamp", func(r row) *int64 { return r.s.CommonTime }},
	{"zab_status_newest_snapshot_timestamp_seconds", "When the newest snapshot of the backup was made on the source, or of a copy without a source on the target.", "newest.timestamp", func(r row) *int64 { return r.s.NewestTime }},
	{"zab_status_written_bytes", "Bytes written to the source since the newest common snapshot.", "written", func(r row) *int64 { return r.s.Written }},
	{"zab_status_source_snapshots", "Snapshots on the source.", "source.snapshots", func(r row) *int64 { return r.s.Snapshots }},
	{"zab_status_target_snapshots", "Snapshots on the target.", "target.snapshots", func(r row) *int64 { return r.s.TargetSnapshots }},
	{"zab_status_resume_bytes", "Bytes that the target has of an interrupted stream.", "resume", func(r row) *int64 { return r.s.ResumeBytes }},
	{"zab_status_conflict", "Whether the copy is in conflict with its source.", "conflict", func(r row) *int64 { return r.conflict() }},
	{"zab_status_verified_timestamp_seconds", "When the copy was verified last and was equal to its source.", "verified.timestamp", func(r row) *int64 {
		if r.s.Proof == record.ProofDifferent {
			return nil
		}
		return r.s.ProofTime
	}},
	{"zab_status_misplaced_holds", "Holds of zab that are missing or left over.", "misplaced", func(r row) *int64 {
		if r.s.Misplaced == nil {
			return nil
		}
		return record.Ptr(int64(len(r.s.Misplaced)))
	}},
}

// copyTime returns the time whose state the copy has, in seconds since the epoch.
func (r row) copyTime() *int64 {
	if r.s.Age == nil {
		return nil
	}
	return record.Ptr(r.now - *r.s.Age)
}

// conflict returns 1 if the copy is in conflict with its source, else 0; nil for a copy
// without a source.
func (r row) conflict() *int64 {
	switch {
	case r.Type == record.TypeOrphan:
		return nil
	case r.Conflict != nil:
		return record.Ptr[int64](1)
	}
	return record.Ptr[int64](0)
}

// writePrometheus writes the metrics to a file, or for - to stdout.
func (rep *report) writePrometheus(stdout io.Writer, file string) error {
	text, err := rep.metrics()
	if err != nil {
		return fmt.Errorf("cannot make the metrics: %w", err)
	}
	if err := writeFile(stdout, file, text); err != nil {
		return fmt.Errorf("cannot write the metrics: %w", err)
	}
	return nil
}

// metrics returns the metrics in the text format.
func (rep *report) metrics() ([]byte, error) {
	rows := rep.distinct()
	var families []*dto.MetricFamily
	family := func(name, help string) *dto.MetricFamily {
		f := &dto.MetricFamily{Name: &name, Help: &help, Type: dto.MetricType_GAUGE.Enum()}
		families = append(families, f)
		return f
	}
	add := func(f *dto.MetricFamily, value int64, labels ...string) {
		m := &dto.Metric{Gauge: &dto.Gauge{Value: record.Ptr(float64(value))}}
		for i := 0; i < len(labels); i += 2 {
			// An empty label is the same as none.
			if labels[i+1] != "" {
				m.Label = append(m.Label, &dto.LabelPair{Name: &labels[i], Value: &labels[i+1]})
			}
		}
		f.Metric = append(f.Metric, m)
	}
	f := family("zab_status_timestamp_seconds", "When the state was read.")
	add(f, rep.now, "backup", rep.backup)
	f = family("zab_status_datasets", "Datasets, and copies without a source, by verdict.")
	for _, v := range severity {
		add(f, int64(rep.counts[v]), "backup", rep.backup, "verdict", v)
	}
	f = family("zab_status_verdict", "The verdict: 0 is ok, 1 warn, 2 crit, 3 unknown.")
	for _, r := range rows {
		add(f, int64(exits[r.s.Verdict]), r.labels()...)
	}
	for _, q := range quantities {
		f := &dto.MetricFamily{Name: &q.prometheus, Help: &q.help, Type: dto.MetricType_GAUGE.Enum()}
		for _, r := range rows {
			if v := q.of(r); v != nil {
				add(f, *v, r.labels()...)
			}
		}
		if len(f.Metric) > 0 {
			families = append(families, f)
		}
	}
	var b bytes.Buffer
	for _, f := range families {
		if len(f.Metric) == 0 {
			continue
		}
		if _, err := expfmt.MetricFamilyToText(&b, f); err != nil {
			return nil, err
		}
	}
	return b.Bytes(), nil
}

// labels returns the labels of a row, name and value by turns, sorted by name.
func (r row) labels() []string {
	dataset, host := r.Name, r.Host
	if r.Type == record.TypeOrphan {
		dataset, host = "", ""
	}
	targetHost, target := r.copy()
	return []string{"backup", r.Backup, "dataset", dataset, "host", host, "target", target, "target_host", targetHost}
}
