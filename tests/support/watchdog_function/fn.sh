# One process per request: what it does is named by the path.
case "$Http_Path" in
/wait)
    cat >/dev/null
    : >started
    while [ ! -e release ]; do sleep 0.01; done
    printf done
    ;;
/tree)
    sleep 1000 &
    echo "$$ $!" >tree.part
    mv tree.part tree
    wait
    ;;
/flood)
    : >started
    while [ ! -e release ]; do seq 1 20000 >&2; done
    printf done
    ;;
/say)
    echo "to the log" >&2
    printf said
    ;;
/env) env ;;
/fail)
    echo "about to fail" >&2
    exit 3
    ;;
*) exec cat ;;
esac
