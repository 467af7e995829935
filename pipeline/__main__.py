"""`python -m ssrl_pipeline` is `ssrl-pipeline`."""

from ssrl_pipeline.cli.main import main

if __name__ == "__main__":
    main()
