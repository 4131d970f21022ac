#!/bin/sh
# mkvenv.sh COMPONENT: the virtual environment of one component, made anew or completed.
# wants PY, VENVS, BAI_VERSION
set -eu
venv=$VENVS/$1
want="backend.ai-$1==$BAI_VERSION $(cksum < constraints.txt)"

# Several environments share it: one of them makes it, the others find it made.
mkdir -p "$VENVS"
exec 9> "$venv.lock"
flock 9
if [ "$(cat "$venv/made-of" 2> /dev/null)" = "$want" ]; then
    echo "$venv is complete"
    exit
fi

# --copies: an interpreter of its own, so that capabilities given to the agent's are not given to every
# program of this Python.
"$PY" -m venv --copies "$venv"
"$venv/bin/pip" install -q -c constraints.txt -U pip setuptools wheel
"$venv/bin/pip" install -q -c constraints.txt "backend.ai-$1==$BAI_VERSION"
echo "$want" > "$venv/made-of"
