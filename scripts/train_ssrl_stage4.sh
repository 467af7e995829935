#!/bin/sh
# Stage 4 of SSRL as published: with 4x7 patches too, from the best of stage 3. See train_ssrl.sh beside it.
exec sh "$(dirname "$0")/train_ssrl.sh" 4 "$@"
