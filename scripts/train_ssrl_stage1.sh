#!/bin/sh
# Stage 1 of SSRL as published: the crops. See train_ssrl.sh beside it.
exec sh "$(dirname "$0")/train_ssrl.sh" 1 "$@"
