# Makes the output of the scripts short: a line for each that passed, all of
# those that failed, and the count that closes it.
/^ *=== / { next }
/^    --- PASS/ { passed++; print "ok   " $3 " " $4; fflush(); buf = ""; next }
/^    --- SKIP/ { skipped++; print "skip " $3; fflush(); next }
/^    --- FAIL/ { failed++; print; show = 1; fflush(); next }
/^--- FAIL/ { show = 1; bad = 1; print; next }
/^--- PASS/ { show = 0; next }
/^panic:|^FAIL/ { show = 1; bad = 1 }
show { print; fflush() }
END {
	printf "%d passed, %d failed%s\n", passed, failed, skipped ? ", " skipped " skipped" : ""
	exit (failed || bad || !passed) ? 1 : 0
}
