"""How the bundled demo model is made: `python -m examples.demo_model train`; see docs/demo_model.md."""
