# Completion for bash: source this file, or install it as
# /usr/share/bash-completion/completions/zab with links to it named zab-select,
# zab-list, zab-snap, zab-plan, zab-xfer, zab-thin, zab-verify, zab-digest and zab-status.
# shellcheck shell=bash

# The long options of a command; those that take a value end with =.
_zab_options() {
	case $1 in
	# options: begin, made by go generate ./lib/completion
	zab) echo '--allow-empty --bookmark --budget= --buffer-chunk-size= --buffer= --cache --clear-mountpoint --clear-refreservation --clones= --compress --debug --decrypt --destroy-incompatible --destroy-missing= --dry-run --encrypt --exclude-received --exclude-snapshot-pattern= --exclude-unchanged= --fetch --files --filter-properties= --follow-renames --force --full-every= --help --hold-format= --ignore-transfer-errors --include-received --jobs= --json --keep-source= --keep-target= --min-change= --no-guid-check --no-holds --no-progress --no-send --no-snapshot --no-thinning --now= --oldest-first --other-snapshots --post-snapshot-cmd= --pre-snapshot-cmd= --progress --property-format= --query-timeout= --rate= --recv-pipe= --rename-aside --retries= --rollback --safe-properties --search-every= --send-pipe= --set-properties= --set-snapshot-properties= --shared-holds --show-pipeline --snapshot-format= --ssh-config= --ssh-source= --ssh-target= --stall-timeout= --strip-path= --utc --verbose --verify --version --within= --zfs-compressed' ;;
	zab-select) echo '--all --cache --debug --dry-run --exclude-path= --exclude-received --exclude-unchanged= --excluded --help --include-received --now= --property-format= --query-timeout= --search-every= --ssh-config= --ssh-source= --ssh-target= --strip-path= --target= --verbose --version' ;;
	zab-list) echo '--backup= --debug --depth= --dry-run --help --hold-format= --holds --no-snapshots --now= --query-timeout= --ssh-config= --ssh= --verbose --version' ;;
	zab-snap) echo '--allow-empty --cache --debug --dry-run --exclude-snapshot-pattern= --help --min-change= --no-snapshot --now= --post-snapshot-cmd= --pre-snapshot-cmd= --query-timeout= --set-snapshot-properties= --snapshot-format= --ssh-config= --utc --verbose --version' ;;
	zab-plan) echo '--bookmark --cache --clear-mountpoint --clear-refreservation --clones= --debug --decrypt --destroy-incompatible --dry-run --encrypt --exclude-snapshot-pattern= --filter-properties= --follow-renames --force --help --hold-format= --keep-target= --no-guid-check --no-holds --no-thinning --now= --orphans --other-snapshots --query-timeout= --rename-aside --rollback --safe-properties --set-properties= --shared-holds --snapshot-format= --ssh-config= --ssh-target= --strip-path= --target-state= --utc --verbose --version --zfs-compressed' ;;
	zab-xfer) echo '--buffer-chunk-size= --buffer= --compress --debug --dry-run --help --ignore-transfer-errors --jobs= --no-progress --now= --progress --query-timeout= --rate= --recv-pipe= --retries= --send-pipe= --ssh-config= --stall-timeout= --verbose --version' ;;
	zab-thin) echo '--bookmark --debug --destroy-missing= --dry-run --every= --explain= --help --hold-format= --keep-source= --keep-target= --no-thinning --now= --picture --property-format= --query-timeout= --snapshot-format= --ssh-config= --utc --verbose --version' ;;
	zab-verify) echo '--budget= --debug --dry-run --fetch --files --full-every= --help --jobs= --now= --oldest-first --query-timeout= --rate= --ssh-config= --stall-timeout= --verbose --version' ;;
	zab-digest) echo '--base-last= --files --hash= --help --name-of= --objects --progress-every= --rate= --version' ;;
	zab-status) echo '--check-holds --crit= --debug --dry-run --exclude-received --exclude-snapshot-pattern= --help --hold-format= --html= --include-received --keep-source= --keep-target= --min-change= --nagios --no-thinning --now= --orphans-are= --other-snapshots --prometheus= --property-format= --query-timeout= --show-pipeline --snapshot-format= --ssh-config= --ssh-source= --ssh-target= --strip-path= --table --utc --verbose --verified-within= --version --warn= --within= --zabbix' ;;
	# options: end
	esac
}

_zab_datasets() {
	zfs list -H -o name -t filesystem,volume 2>/dev/null
}

_zab_backups() {
	zfs get -H -o property -s local,received -t filesystem,volume all 2>/dev/null |
		sed -n 's/^autobackup://p' | sort -u
}

# _zab_offer offers the lines of its input that begin with what is typed.
_zab_offer() {
	local line
	while IFS= read -r line; do
		[[ $line == "$cur"* ]] && COMPREPLY+=("$(printf %q "$line")")
	done
}

_zab() {
	local cmd=${1##*/} cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]}
	local options i word skip='' operands=0
	options=" $(_zab_options "$cmd") "
	COMPREPLY=()
	# bash cuts words at = too.
	if [[ $cur == '=' ]]; then
		cur=''
	elif [[ $prev == '=' ]]; then
		prev=${COMP_WORDS[COMP_CWORD - 2]}
	fi
	case $prev in
	--compress)
		_zab_offer < <(printf '%s\n' gzip pigz-fast pigz-slow zstd-fast zstd-slow zstd-adapt xz lzo lz4)
		return
		;;
	--picture)
		_zab_offer < <(printf '%s\n' text svg)
		return
		;;
	--ssh | --ssh-source | --ssh-target)
		_zab_offer < <(compgen -A hostname)
		return
		;;
	--ssh-config | --target-state | --prometheus)
		mapfile -t COMPREPLY < <(compgen -f -- "$cur")
		return
		;;
	--exclude-path)
		_zab_offer < <(_zab_datasets)
		return
		;;
	-j) return ;;
	esac
	[[ $options == *" $prev= "* ]] && return # a value that nobody can guess
	if [[ $cur == -* ]]; then
		mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
		[[ ${#COMPREPLY[@]} == 1 && ${COMPREPLY[0]} == *= ]] && compopt -o nospace
		return
	fi
	for ((i = 1; i < COMP_CWORD; i++)); do
		word=${COMP_WORDS[i]}
		if [[ $word == '=' ]]; then
			skip=1
		elif [[ $skip ]]; then
			skip=''
		elif [[ $word == -j || $options == *" $word= "* ]]; then
			skip=1
		elif [[ $word != -* ]]; then
			operands=$((operands + 1))
		fi
	done
	case $cmd:$operands in
	zab:0 | zab-select:0 | zab-status:0) _zab_offer < <(_zab_backups) ;;
	zab:1 | zab-status:1 | zab-plan:0 | zab-list:*) _zab_offer < <(_zab_datasets) ;;
	esac
}

complete -F _zab zab zab-select zab-list zab-snap zab-plan zab-xfer zab-thin zab-verify zab-digest zab-status
