"""The command line (`uv run main.py`), and `app` for those who run uvicorn themselves (`uv run uvicorn main:app`)."""

if __name__ == "__main__":
    from backend.cli import main

    main()
elif __name__ != "__mp_main__":  # the name under which each worker process imports this file once more
    from backend.cli import app_for_uvicorn

    app = app_for_uvicorn()
