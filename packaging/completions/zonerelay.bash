_zonerelay() {
	local current="${COMP_WORDS[COMP_CWORD]}" words=
	COMPREPLY=()
	if [ "$COMP_CWORD" -eq 1 ]; then
		words='status chains adopt pending gaps resync replay anchors quarantine evidence proof blocks reconcile spool certs config log audit dictionary watch version completions help'
	elif [ "${current#-}" != "$current" ]; then
		case "${COMP_WORDS[1]} ${COMP_WORDS[2]}" in
		'status '*) words='--config --help --json --socket --timeout' ;;
		'chains list') words='--after --class --limit --state --config --help --json --socket --timeout' ;;
		'chains show') words='--config --help --json --socket --timeout' ;;
		'chains add') words='--agents --class --epoch --config --dry-run --format --help --json --policy --reason --socket --timeout --trust' ;;
		'chains renew') words='--config --dry-run --help --json --reason --socket --timeout --trust' ;;
		'chains move') words='--config --dry-run --help --in --json --out --reason --socket --timeout' ;;
		'chains freeze') words='--hold-delivery --config --dry-run --help --json --reason --socket --timeout' ;;
		'chains unfreeze') words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'adopt chain') words='--anchored --next --tip --config --dry-run --help --json --reason --socket --timeout' ;;
		'adopt lane') words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'adopt store') words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'pending '*) words='--after --class --limit --config --help --json --socket --timeout' ;;
		'gaps '*) words='--after --limit --config --help --json --socket --timeout' ;;
		'resync '*) words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'replay '*) words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'anchors list') words='--after --limit --state --config --help --json --socket --timeout' ;;
		'anchors show') words='--config --help --json --socket --timeout' ;;
		'anchors retry') words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'quarantine list') words='--after --chain --limit --config --help --json --socket --timeout' ;;
		'quarantine show') words='--config --help --json --out --socket --timeout' ;;
		'quarantine release') words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'quarantine reject') words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'evidence list') words='--after --chain --limit --config --help --json --socket --timeout' ;;
		'evidence export') words='--config --help --json --out --socket --timeout' ;;
		'evidence verify') words='--config --help --json --socket --timeout --trust' ;;
		'proof get') words='--config --help --json --out --socket --timeout' ;;
		'proof verify') words='--block --config --help --json --socket --timeout --trusted' ;;
		'blocks verify') words='--config --format --help --json --policy --socket --timeout --trust' ;;
		'reconcile '*) words='--after --limit --config --help --json --socket --timeout' ;;
		'spool init') words='--config --help --json --no-allocate --size --socket --timeout' ;;
		'spool stat') words='--config --help --json --socket --timeout' ;;
		'spool verify') words='--config --help --json --socket --timeout' ;;
		'spool export') words='--config --help --json --out --socket --timeout' ;;
		'spool salvage') words='--config --help --json --out --socket --timeout' ;;
		'spool backup') words='--chain --config --help --json --out --pace --socket --timeout' ;;
		'spool restore') words='--config --help --in --json --no-allocate --size --socket --timeout' ;;
		'certs '*) words='--config --help --json --socket --timeout --within' ;;
		'config check') words='--config --help --json --program --socket --timeout' ;;
		'config show') words='--config --effective --help --json --program --socket --timeout' ;;
		'config reload') words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'log level') words='--config --help --json --socket --timeout' ;;
		'audit list') words='--after --limit --config --help --json --socket --timeout' ;;
		'audit verify') words='--config --help --json --socket --timeout' ;;
		'dictionary add') words='--config --dry-run --help --json --reason --socket --timeout' ;;
		'dictionary list') words='--config --help --json --socket --timeout' ;;
		'dictionary train') words='--config --help --json --out --size --socket --timeout' ;;
		'watch '*) words='--config --events --help --json --socket --timeout' ;;
		'version '*) words='--config --help --json --socket --timeout' ;;
		'completions '*) words='--config --help --json --socket --timeout' ;;
		'help '*) words='--config --help --json --socket --timeout' ;;
		esac
	elif [ "$COMP_CWORD" -eq 2 ]; then
		case "${COMP_WORDS[1]}" in
		chains) words='list show add renew move freeze unfreeze' ;;
		adopt) words='chain lane store' ;;
		anchors) words='list show retry' ;;
		quarantine) words='list show release reject' ;;
		evidence) words='list export verify' ;;
		proof) words='get verify' ;;
		blocks) words='verify' ;;
		spool) words='init stat verify export salvage backup restore' ;;
		config) words='check show reload' ;;
		log) words='level' ;;
		audit) words='list verify' ;;
		dictionary) words='add list train' ;;
		esac
	fi
	if [ -n "$words" ]; then
		COMPREPLY=($(compgen -W "$words" -- "$current"))
	else
		COMPREPLY=($(compgen -f -- "$current"))
	fi
}
complete -o filenames -F _zonerelay zonerelay
