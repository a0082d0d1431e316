package zfs

import (
	"context"
	"errors"
	"strings"
)

// DestroySnapshots destroys snapshots of one dataset, by their names after @,
// with as few programs as their length allows. zfs destroys all that one
// program was given or none; those already gone are no failure. It calls done,
// if that is set, with each batch that is gone.
func (h *Host) DestroySnapshots(ctx context.Context, dataset string, names []string, done func([]string)) error {
	// The list is one string, so the limit of one string holds here too.
	const limit = 100 << 10
	var errs []error
	for batch := range Batches(names, limit-len(dataset)) {
		err := h.run(ctx, nil, nil, DestroyArgv(dataset, batch)...)
		if err != nil && KindOf(err) != KindNotFound {
			errs = append(errs, err)
			if unrecoverable(err) {
				break
			}
			continue
		}
		if done != nil {
			done(batch)
		}
	}
	return errors.Join(errs...)
}

// DestroyArgv is the command that destroys snapshots of one dataset.
func DestroyArgv(dataset string, names []string) []string {
	return []string{"zfs", "destroy", dataset + "@" + strings.Join(names, ",")}
}

// DestroyDataset destroys a filesystem or volume that has neither children nor
// snapshots; zfs refuses otherwise.
func (h *Host) DestroyDataset(ctx context.Context, dataset string) error {
	return h.run(ctx, nil, nil, DestroyDatasetArgv(dataset)...)
}

// DestroyDatasetArgv is the command of DestroyDataset.
func DestroyDatasetArgv(dataset string) []string { return []string{"zfs", "destroy", dataset} }

// DestroyBookmark destroys one bookmark; one already gone is no failure.
func (h *Host) DestroyBookmark(ctx context.Context, dataset, mark string) error {
	err := h.run(ctx, nil, nil, DestroyBookmarkArgv(dataset, mark)...)
	if KindOf(err) == KindNotFound {
		return nil
	}
	return err
}

// DestroyBookmarkArgv is the command of DestroyBookmark.
func DestroyBookmarkArgv(dataset, mark string) []string {
	return []string{"zfs", "destroy", dataset + "#" + mark}
}

// AbortReceive throws away what an interrupted receive has saved.
func (h *Host) AbortReceive(ctx context.Context, dataset string) error {
	return h.run(ctx, nil, nil, AbortReceiveArgv(dataset)...)
}

// AbortReceiveArgv is the command of AbortReceive.
func AbortReceiveArgv(dataset string) []string {
	return []string{"zfs", "receive", "-A", dataset}
}
