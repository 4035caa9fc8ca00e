"""One federation of each method, as the API's document shows them."""

from typing import Any

FEDERATIONS: dict[str, Any] = {
    "additive": {
        "summary": "Two adapters that add up",
        "value": {
            "name": "Alpha in Acme's voice",
            "description": "Records of Retailer Alpha, copy in the brand's tone",
            "spec": {
                "terms": [
                    {"adapter": "retailer_alpha", "weight": 1.0},
                    {"adapter": "brand_voice", "weight": 0.5},
                ]
            },
        },
    },
    "segments": {
        "summary": "One adapter below, another above",
        "value": {
            "name": "Alpha below, Acme above",
            "spec": {
                "terms": [
                    {"adapter": "retailer_alpha", "layers": [0, 2]},
                    {"adapter": "brand_voice", "layers": [3, 5]},
                ]
            },
        },
    },
    "token gate": {
        "summary": "At every token the adapter that fits best, without training",
        "value": {
            "name": "Whoever fits",
            "spec": {
                "method": "gated",
                "gate": {"kind": "token", "top_k": 1},
                "terms": [{"adapter": "retailer_alpha"}, {"adapter": "task_planning"}],
            },
        },
    },
    "router": {
        "summary": "A trained gate chooses once a request",
        "value": {
            "name": "Front desk",
            "spec": {
                "method": "gated",
                "gate": {"kind": "router", "gate": "front_desk"},
                "terms": [{"adapter": "retailer_alpha"}, {"adapter": "task_planning"}],
            },
        },
    },
    "pipeline": {
        "summary": "Harmonize, then plan",
        "value": {
            "name": "Record to plan",
            "spec": {
                "method": "sequential",
                "stages": [
                    {
                        "name": "harmonize",
                        "composition": {"terms": [{"adapter": "retailer_alpha"}]},
                        "prompt": "{input}",
                        "contract": {"kind": "json"},
                    },
                    {
                        "name": "plan",
                        "composition": {"terms": [{"adapter": "task_planning"}]},
                        "prompt": "Plan a campaign for this record: {harmonize}",
                    },
                ],
            },
        },
    },
}
