#!/bin/bash
#SBATCH --job-name=submit_phase5_small
#SBATCH --time=00:20:00
#SBATCH --ntasks=1
#SBATCH --mem=2G
# From the repository's root: sbatch slurm/submit_phase5_small.sh, or run it with bash.
# Site settings are in slurm/site.yaml.
set -euo pipefail
exec "${VENDOMINI:-vendomini}" submit --config configs/phases/phase5_small.yaml --site slurm/site.yaml "$@"
