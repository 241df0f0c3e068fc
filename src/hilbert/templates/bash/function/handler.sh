#!/bin/bash
# Edit this: standard input is the body of the call, standard output the answer, standard error the log.
# Headers are in the environment, e.g. Http_Content_Type; so are Http_Method, Http_Path and Http_Query.
set -euo pipefail

name=$(cat)
echo "Hello, ${name:-world}!"
