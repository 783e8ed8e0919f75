"""`python -m monitoring`: write the dashboards and the operator's form of the rules. A test holds them to this."""

from monitoring.files import COMPONENT, generated


def main() -> None:
    """Write every file that differs."""
    for name, text in generated().items():
        path = COMPONENT / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"written: {name}")


if __name__ == "__main__":
    main()
