from backbone.cpu.shared_prompts import ROUND, Stream

PROMPTS = [[1, 5, 6, 7, 8]] * 3 + [[1, 200, 30]] + [[1, 9, 10, 11]] * 2 + [[1, 200, 30]]
RESPONSES = [[30, 31, 2], [7], [9, 9, 9, 200, 2], [100, 2], [40, 41, 42], [43, 2], [5, 5, 5, 5, 5, 2]]


def test_a_prompt_lies_in_the_stream_once_for_its_responses() -> None:
    stream = Stream.of(PROMPTS, RESPONSES)
    prompts = 5 + 3 + 4 + 3  # the second prompt comes back later, and is computed again
    used = prompts + sum(map(len, RESPONSES))
    assert stream.input_ids.shape == (1, -(-used // ROUND) * ROUND)
    assert not stream.input_ids[0, used:].any()
    assert stream.prompt_ends[:3] == [4, 4, 4]
