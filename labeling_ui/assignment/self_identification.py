"""Responses that say which model wrote them: they may have told annotators what they must not know."""

import re

_MODELS = (
    r"(?:chat)?gpt(?:[- ]?\d[\w.]*)?|claude|gemini|bard|gemma|palm|llama|alpaca|vicuna|mi[sx]tral|qwen|tongyi|deepseek|"
    r"grok|smollm|phi-\d|falcon|bloom|copilot|kimi|chatglm|ernie|yi-\d+b|olmo|command r|通义千问|文心一言|豆包|智谱清言"
)
_MAKERS = (
    r"openai|anthropic|google(?: deepmind)?|deepmind|meta(?: ai)?|mistral ai|alibaba(?: cloud)?|microsoft|xai|"
    r"hugging ?face|baidu|moonshot(?: ai)?|deepseek|cohere|阿里巴巴|阿里云|百度|字节跳动|深度求索|月之暗面|谷歌|微软"
)
_SAYS_WHO = re.compile(
    rf"\b(?:i am|i['’]m|my name is|as an ai called)\s+(?:an?\s+|the\s+)?(?:ai\s+)?(?:assistant\s+)?(?:{_MODELS})\b"
    rf"|\b(?:trained|developed|created|made|built)\s+by\s+(?:{_MAKERS})\b"
    rf"|我(?:是|叫)\s*(?:{_MODELS})|由\s*(?:{_MAKERS})\s*(?:开发|训练|研发|创建)",
    re.IGNORECASE,
)


def names_its_model(response: str) -> str | None:
    """The words by which a response says which model, or whose, wrote it; None if it does not."""
    found = _SAYS_WHO.search(response)
    return " ".join(found.group().split()) if found else None
