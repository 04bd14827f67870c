"""docs/fidelity.md: which behaviours of ECS and ALB are modelled, and which test shows each.

    catalogue/*.yaml   the behaviours, a file a section, and the keys of their sources
    catalogue.py       reads them
    markers.py         finds `@pytest.mark.fidelity(...)` in the tests, without importing them
    complaints.py      what the two do not agree on
    page.py            the page; `python -m tests.fidelity` writes it (`make fidelity`)

A test says what it shows, by one id or several. Source and mark may stand beside a single id, for the reader of the
test; they are then the catalogue's:

    @pytest.mark.fidelity("ALB-DRAIN-3", source="ALB-UG/load-balancer-target-groups", mark="doc")
    @pytest.mark.fidelity("TIMELINE-11", "TRAP-2")
"""
