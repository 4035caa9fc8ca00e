"""The product: data, training, composition, serving and judgement. Knows no web framework."""
