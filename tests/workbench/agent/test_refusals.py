"""What an error of a server names, in the words of servers that there are."""

from __future__ import annotations

import pytest

from workbench.agent.refusals import Reported, reported

ALL = ("stream_usage", "forced_tool", "temperature", "seed", "max_tokens", "native_tools", "stream")

NAMED = {
    "registry.ollama.ai/library/gemma:2b does not support tools": "native_tools",
    '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser to be set': (
        "native_tools"
    ),
    "tools param requires --jinja flag": "native_tools",
    "No endpoints found that support tool use. To learn more, see the docs.": "native_tools",
    "`tool calling` is not supported with this model": "native_tools",
    "deepseek-reasoner does not support Function Calling": "native_tools",
    "Function calling is not enabled for models/gemma-3": "native_tools",
    "tools are not supported by this model": "native_tools",
    "Unsupported parameter: 'tools' is not supported with this model.": "native_tools",
    "tools: Extra inputs are not permitted": "native_tools",
    "tool_choice is not supported": "forced_tool",
    "deepseek-reasoner does not support this tool_choice": "forced_tool",
    "No endpoints found that support the provided 'tool_choice' value.": "forced_tool",
    "Thinking may not be enabled when tool_choice forces tool use.": "forced_tool",
    "unknown field: stream_options": "stream_usage",
    "Unknown parameter: 'stream_options'.": "stream_usage",
    "Unrecognized request argument supplied: seed": "seed",
    "property 'seed' is unsupported": "seed",
    'Invalid JSON payload received. Unknown name "seed": Cannot find field.': "seed",
    "create() got an unexpected keyword argument 'seed'": "seed",
    "Unsupported value: 'temperature' does not support 0.2 with this model.": "temperature",
    "`temperature` is not supported with this model": "temperature",
    "stream: not supported here": "stream",
    "streaming is not supported for this model": "stream",
    "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
    "'max_completion_tokens' instead.": "max_tokens",
}
NOTHING_NAMED = [
    "upstream error: the provider returned 400",
    "the upstream provider does not support this",
    "Error in upstream stream: connection reset",
    "Your tool result could not be parsed",
    "Invalid arguments of function note",
    "messages with role 'tool' must be a response to a preceding message with 'tool_calls'",
    "An assistant message with 'tool_calls' must be followed by tool messages",
    (
        "Function call is missing a thought_signature in functionCall parts. This is required for tools "
        "to work correctly, and missing thought_signature may lead to degraded model performance."
    ),
    "Invalid schema for function 'ask': 'default' is not permitted",
    "tools[0].function.parameters.exclusiveMinimum is not supported",
    "messages[2].tool_calls is unsupported",
    "This model does not support parallel tool calls",
    "temperature: must be at most 1",
    "'temperature' must be between 0 and 2",
    "seed must be an integer",
    "stream must be a boolean",
    "stream disconnected before completion",
    "unknown prompt: stream of tools and functions",
    "The toolkit is disabled",
    "this model does not support images in tool results",
    "max_tokens is too large: 100000",
]


@pytest.mark.parametrize(("message", "feature"), NAMED.items())
def test_a_parameter_named_as_unsupported_is_found(message: str, feature: str):
    error = Reported(message)
    assert next(name for name in ALL if error.refuses(name)) == feature


@pytest.mark.parametrize("message", NOTHING_NAMED)
def test_a_word_in_an_error_names_nothing(message: str):
    assert not [name for name in ALL if Reported(message).refuses(name)]


@pytest.mark.parametrize(
    ("error", "features"),
    [
        ({"message": "no", "param": "tools", "code": "unsupported_parameter"}, ["native_tools"]),
        (
            {"message": "must be verified", "param": "stream", "code": "unsupported_value"},
            ["stream"],
        ),
        ({"message": "no", "param": "tools", "code": "invalid_value"}, []),
        ({"message": "unsupported", "param": "tools[0].function.parameters"}, []),
        ({"detail": [{"type": "extra_forbidden", "loc": ["body", "seed"], "msg": "x"}]}, ["seed"]),
        (
            {
                "message": {
                    "detail": [{"type": "extra_forbidden", "loc": ["body", "stream_options"]}]
                }
            },
            ["stream_usage"],
        ),
        (
            [{"error": {"code": 400, "message": 'Unknown name "seed": Cannot find field.'}}],
            ["seed"],
        ),
    ],
)
def test_the_fields_of_an_error_name_a_parameter(error, features):
    assert [name for name in ALL if reported(error).refuses(name)] == features


@pytest.mark.parametrize(
    ("message", "asked", "fewer"),
    [
        (
            (
                "max_tokens is too large: 100000. This model supports at most 16384 completion tokens, "
                "whereas you provided 100000."
            ),
            100_000,
            16_384,
        ),
        (
            (
                "max_tokens: 100000 > 64000, which is the maximum allowed number of output tokens for "
                "claude-sonnet-4-20250514"
            ),
            100_000,
            64_000,
        ),
        ("Invalid max_tokens value, the valid range of max_tokens is [1, 8192]", 100_000, 8_192),
        ("`max_tokens` must be less than or equal to `8192`, the maximum value", 100_000, 8_192),
        (
            (
                "'max_tokens' or 'max_completion_tokens' is too large: 4000. This model's maximum context "
                "length is 4096 tokens and your request has 1000 input tokens (4000 > 4096 - 1000)."
            ),
            4_000,
            3_096,
        ),
        (
            (
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
                "(1000 in the messages, 4000 in the completion)."
            ),
            4_000,
            3_096,
        ),
        (
            (
                "This model's maximum context length is 4096 tokens. However, you requested 5000 tokens "
                "(4090 in the messages, 910 in the completion)."
            ),
            910,
            None,
        ),
        (
            (
                "it has a maxOutputTokens value of 100000 but the supported range is from 1 (inclusive) "
                "to 65537 (exclusive)"
            ),
            100_000,
            65_536,
        ),
        ("max_tokens is too large", 4_000, 2_000),
        ("max_tokens is too large", 300, None),
        ("max_tokens must be at least 16", 4_000, None),
        ("max_tokens is not supported", 4_000, None),
        ("the prompt is too long for context_length 10", 4_000, None),
        ("no such model", 4_000, None),
    ],
)
def test_too_many_tokens_asked_for_are_lowered_to_what_is_named(message, asked, fewer):
    assert Reported(message).fewer_tokens(asked) == fewer


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 4096 tokens.",
        "the request exceeds the available context size. try increasing the context size",
        "prompt is too long: 205000 tokens > 200000 maximum",
        "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000",
        "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).",
        "prompt too long; exceeded max context length by 10 tokens",
        "the model is loaded with context length of only 4096 tokens",
    ],
)
def test_a_prompt_that_is_too_long_is_told(message: str):
    assert Reported(message).is_too_long


@pytest.mark.parametrize(
    ("message", "may_be"),
    [
        ("API key not valid. Please pass a valid API key.", False),
        ("The model `x` does not exist", False),
        ("Your credit balance is too low", False),
        ("User location is not supported for the API use.", False),
        ("Function call is missing a thought_signature", True),
        ("messages.1.content: Input should be a valid string", True),
    ],
)
def test_what_is_not_about_the_form(message: str, may_be: bool):
    assert Reported(message).may_be_form is may_be


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ("property 'messages.2.reasoning_content' is unsupported", True),
        ("'messages.2' : property 'reasoning_content' is unsupported", True),
        ("body.messages.1.assistant.reasoning_content: Extra inputs are not permitted", True),
        ("The `reasoning_content` must be passed back to the API.", False),
    ],
)
def test_a_field_of_a_message_named_as_unsupported(message: str, named: bool):
    assert Reported(message).names_unsupported("reasoning_content") is named
